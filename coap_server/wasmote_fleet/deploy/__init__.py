"""What should run where (spec.py), which nodes that are (placement.py), and a reconciler that gets it there.
Deployments is the part that runs."""

from wasmote_fleet.deploy.admission import Refused
from wasmote_fleet.deploy.deployments import Deployments, Place, UnknownDeployment
from wasmote_fleet.deploy.parse import SpecError, parse_json, parse_mapping, parse_toml
from wasmote_fleet.deploy.plan import NodeProgress, Phase, Progress
from wasmote_fleet.deploy.records import Deployment, Placed, PlacedState
from wasmote_fleet.deploy.spec import (
    ChainSpec,
    FunctionSpec,
    Rollout,
    Spec,
    StepSpec,
    Wave,
    Where,
    spec_json,
)

__all__ = [
    "ChainSpec",
    "Deployment",
    "Deployments",
    "FunctionSpec",
    "NodeProgress",
    "Phase",
    "Place",
    "Placed",
    "PlacedState",
    "Progress",
    "Refused",
    "Rollout",
    "Spec",
    "SpecError",
    "StepSpec",
    "UnknownDeployment",
    "Wave",
    "Where",
    "parse_json",
    "parse_mapping",
    "parse_toml",
    "spec_json",
]
