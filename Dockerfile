# One image for every role: `enrichment enrich | window | sample | project | guard --pipeline NAME`.
# What a role needs and no more: neither the lab's libraries nor those of development are in it.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# Without pip: the one outside installs into it, and nothing in the image can.
RUN python -m venv --without-pip /opt/venv
# Requirements first: the code changes daily, they do not.
COPY requirements/image.txt requirements/image.txt
RUN pip --python /opt/venv/bin/python install --require-hashes --requirement requirements/image.txt
# What builds the project is among the hashed requirements, and stays behind in this stage.
COPY requirements/build.txt requirements/build.txt
RUN pip install --require-hashes --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY enrichment enrichment
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/venv/bin/python install --no-deps --no-index dist/*.whl

FROM python:3.11-slim-bookworm
# Numbers, so that a cluster can see for itself that it is not root.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /app enrichment \
 && install -d -o enrichment -g enrichment /app /state
COPY --from=build /opt/venv /opt/venv
COPY topics /app/topics
COPY schemas /app/schemas
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ENRICHMENT_STATE_DIR=/state \
    ENRICHMENT_TOPICS_DIR=/app/topics
WORKDIR /app
USER 10001:10001
ENTRYPOINT ["enrichment"]
CMD ["--help"]
