"""The gate's proofs on jobs that the sample stage did: run again, the same, energies and all."""

from pathlib import Path as FilePath

import pytest

from enrichment.cli import rollout_proofs
from enrichment.lab.servers import LocalServers
from enrichment.pipelines import load
from enrichment.records import Experiment, Path
from enrichment.settings import Settings
from tests.integration.sampling import open_stage, until
from tests.rollout.evidences import question


@pytest.mark.servers
@pytest.mark.timeout(120)
def test_jobs_are_run_again_for_the_gate(servers: LocalServers, tmp_path: FilePath) -> None:
    """As many as are asked for, one process for all; each is the same, and every energy right."""
    with open_stage(servers, tmp_path) as stage:
        stage.start()
        stage.send(*stage.batches(range(2), problems=2))
        until(stage.all_done)
        pipeline = load(str(stage.toml))
        experiment = Experiment(
            experiment_id="e1", started_ms=1, pipeline_version="", score_version=""
        )
        settings = Settings.model_validate({"kafka_bootstrap": servers.bootstrap})
        asked = question(Path.QUANTUM, experiment=experiment, pipeline=pipeline.name)
        found = rollout_proofs.jobs_run_again(settings, pipeline, asked)
    assert found["not_reproduced"] == {}
    assert found["reproduced"] == found["reproduced_equal"] == pipeline.rollout.gate.reproduced_jobs
    # Of each problem the circuit's samples, the exact solver's and random strings.
    assert found["energies"] == found["energies_right"] == 5 * 2 * 3
