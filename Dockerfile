# One image for every role: `enrichment enrich | window | sample | project --pipeline NAME`.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/venv
# Requirements first: the code changes daily, they do not.
COPY requirements/all.txt requirements/all.txt
RUN /opt/venv/bin/pip install --require-hashes --requirement requirements/all.txt
COPY pyproject.toml README.md LICENSE ./
COPY enrichment enrichment
# No build isolation: hatchling is among the hashed requirements, and nothing else is fetched.
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
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
USER enrichment
ENTRYPOINT ["enrichment"]
CMD ["--help"]
