"""A fuzz run guided by coverage: `make fuzz SECONDS=60`. Not a test; it needs atheris.

The first byte of an input chooses the pipeline and how the record is wrapped, the rest is the
record's value. An input that raises, or whose answer cannot be read, is written to a file and ends
the run; the same file given as an argument runs it again.
"""

import logging
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import atheris
import structlog

with atheris.instrument_imports(include=["enrichment.enrich", "enrichment.stream.headers"]):
    from enrichment.enrich.loop import record_of
    from tests.enrich import fuzzed
    from tests.enrich.test_fuzz import ENRICHERS, PIPELINES, encode
    from tests.enrich.test_records_in import STRUCTURED, Message

import msgspec

NAMES: Final = tuple(PIPELINES)
CORPUS: Final = 2_000  # seeds, half of them structured: what a guided run starts from


def one_input(data: bytes) -> None:
    """Answer one record."""
    if not data:
        return
    name, structured = NAMES[data[0] % len(NAMES)], data[0] >= 0x80
    message = Message(data[1:], *([STRUCTURED] if structured else []))
    record = msgspec.structs.replace(record_of(message), key=data[1:9])
    fuzzed.answer(ENRICHERS[name], [record], encode=encode)


def seeds(folder: Path) -> None:
    """Inputs to begin with."""
    for number in range(CORPUS):
        draw = random.Random(number)
        name = number % len(NAMES)
        model = fuzzed.MODELS[PIPELINES[NAMES[name]][1]]
        if draw.random() < 0.5:
            value, head = fuzzed.value(draw, model), name
        else:
            value = fuzzed.cloud_event(draw, model)[0]
            head = next(each for each in range(0x80, 0x100) if each % len(NAMES) == name)
        (folder / str(number)).write_bytes(bytes([head]) + (value or b""))


def words(file: Path) -> None:
    """What a mutation may put in, in libFuzzer's form."""
    texts = {each for each in (*fuzzed.LITERALS, *fuzzed.SCRAPS) if 0 < len(each) <= 60}
    texts |= {name.encode() for model in fuzzed.MODELS.values() for name in model}
    lines = ("".join(f"\\x{byte:02x}" for byte in text) for text in sorted(texts))
    file.write_text("".join(f'"{line}"\n' for line in lines), encoding="ascii")


def main() -> None:
    """Fuzz for the seconds given, or run the files given."""
    replayed = [each for each in sys.argv[1:] if Path(each).is_file()]
    if replayed:
        for each in replayed:
            one_input(Path(each).read_bytes())
        return
    # Every other input would be a line of the log.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as work:
        corpus, dictionary = Path(work) / "corpus", Path(work) / "words"
        corpus.mkdir()
        seeds(corpus)
        words(dictionary)
        arguments = [
            sys.argv[0], f"-max_total_time={seconds}", f"-dict={dictionary}", "-max_len=4096",
            "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
            f"-seed={int(time.time())}", str(corpus),
        ]  # fmt: skip
        atheris.Setup(arguments, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
