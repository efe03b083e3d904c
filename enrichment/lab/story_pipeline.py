"""The story's pipeline: payments as shipped, with what minutes have to stand for days in.

Everything that decides is said before the first event: margin, looks, thresholds.
"""

from pathlib import Path
from typing import Final

from enrichment import pipelines
from enrichment.pipelines import Pipeline, load

NAME: Final = "payments"

CHANGES: Final = {
    # Nothing but the heuristic serves until the gate has let more in.
    'serve = "quantum"': 'serve = "heuristic"',
    # Small problems and few shots: a virtual device takes seconds for one of twelve variables.
    "variables_max = 12": "variables_max = 8",
    "problems_max = 64": "problems_max = 24",
    "shots = 1_000": "shots = 200",
    "deadline_ms = 10_000": "deadline_ms = 28_000",
}

ROLLOUT: Final = """
[rollout]
canary_share = 0.2
untreated_share = 0.05
untreated_amount_max = 5_000.0
review_cost = 2.0

[rollout.gate]
margin = 0.02
confidence = 0.95
looks = [400, 1_000, 2_000]
# In the simulation nine of ten outcomes come within 12 s; in life this is weeks.
matured_ms = 20_000
k = 100
latency_p99_ms_max = 20_000.0
failed_share_max = 0.05
cost_per_caught_max = 100.0
reproduced_jobs = 5
repeat_deviation_max = 0.15
canary_bad_min = 20

[rollout.guard]
jobs = 12
energy_gap_max = 0.6
membership_gap_max = 0.2
failed_share_max = 0.25
"""


def story_pipeline(folder: Path) -> Pipeline:
    """Write the pipeline's files into the folder; the pipeline as the stages will read it."""
    folder.mkdir(parents=True, exist_ok=True)
    shipped = Path(pipelines.__file__).parent
    text = (shipped / f"{NAME}.toml").read_text(encoding="utf-8")
    for old, new in CHANGES.items():
        if text.count(old) != 1:
            raise ValueError(f"{NAME}.toml no longer says {old!r} once: mend the story")
        text = text.replace(old, new)
    (folder / f"{NAME}.toml").write_text(text + ROLLOUT, encoding="utf-8")
    table = f"{NAME}.score.toml"
    (folder / table).write_bytes((shipped / table).read_bytes())
    return load(NAME, folder)
