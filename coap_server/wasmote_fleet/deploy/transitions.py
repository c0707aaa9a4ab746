"""What becomes of a record placed/<node>/<name> in each step. Pure; None stands for a record as it is, or for none."""

from __future__ import annotations

from dataclasses import dataclass

from wasmote.errors import WasmoteError
from wasmote_fleet.deploy.hands import back_off_s
from wasmote_fleet.deploy.plan import Install
from wasmote_fleet.deploy.records import Boot, Placed, PlacedState


class Foreign(WasmoteError):
    """Somebody else has the name on this node."""


@dataclass(frozen=True, slots=True)
class There:
    """What a node has under a name. ram: bytes that it takes, 0 if the node does not say."""

    digest: str
    ram: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim leads to. placed: the record to write, None to leave it as it is. push: the module must be pushed;
    None: not now, for its removal was begun."""

    placed: Placed | None
    push: bool | None


def leave(placed: Placed | None, id: str, now: float) -> Placed | None:
    """A deployment no longer wants it."""
    if placed is None or id not in placed.deployments:
        return None
    rest = tuple(other for other in placed.deployments if other != id)
    if rest:
        return placed.changed(deployments=rest)
    was = tuple(dict.fromkeys((*placed.was, id)))
    return placed.changed(
        deployments=(), was=was, state=PlacedState.LEAVING, attempts=0, retry_at=0.0, cause="", at=now
    )


def claim(placed: Placed | None, step: Install, id: str, there: There | None, now: float) -> Claim:
    """A deployment is about to do a step, and the node has been looked at. Raises Foreign."""
    is_there = there is not None and there.digest == step.digest
    if placed is None:
        if there is not None and not is_there:
            raise Foreign(
                f"a function '{step.name}' is on {step.node} that no deployment put there",
                cause=f"its SHA-256 begins with {there.digest[:12]}",
                next_step=f"remove it (`wasmote fleet nodes {step.node}` shows it), or use another name (`as`)",
            )
        made = Placed(
            step.node, step.name, step.digest, (id,), owned=not is_there, attempts=1, at=now, ram=step.ram
        )
        return Claim(made, not is_there)
    if placed.state is PlacedState.REMOVING:
        return Claim(None, None)
    others = tuple(other for other in placed.deployments if other != id)
    if others and placed.digest != step.digest:
        raise Foreign(
            f"'{step.name}' on {step.node} is another module, of deployment {', '.join(others)}",
            next_step="use another name (`as`), or the same version",
        )
    if is_there and placed.digest == step.digest and placed.state is PlacedState.READY:
        if id in placed.deployments:
            return Claim(None, False)  # as it was, but for when it was seen, which ready() writes
        return Claim(placed.changed(deployments=(*others, id)), False)
    same = placed.digest == step.digest
    back = not step.rolling
    before = placed.digest if placed.rolled else placed.before
    claimed = placed.changed(
        digest=step.digest,
        deployments=(*others, id),
        was=(),
        state=PlacedState.PENDING,
        owned=placed.owned or not is_there,
        rolled=(placed.rolled and not placed.going) if same else back,
        before=placed.before if same else "" if back else before,
        attempts=placed.attempts + 1 if same else 1,
        retry_at=placed.retry_at if same else 0.0,
        cause=placed.cause if same else "",
        ram=placed.ram if same else step.ram,
        ready_at=placed.ready_at if same or back else 0.0,
        at=now,
    )
    return Claim(claimed, not is_there)


def ready(placed: Placed | None, step: Install, there: There, boot: Boot | None, now: float) -> Placed | None:
    """The module was seen on the node, in this boot of it."""
    if placed is None or placed.going or placed.digest != step.digest:
        return None
    return placed.changed(
        state=PlacedState.READY,
        rolled=True,
        before="",
        attempts=0,
        retry_at=0.0,
        cause="",
        at=placed.at if placed.state is PlacedState.READY else now,
        boot=boot,
        seen_at=now,
        ready_at=placed.ready_at or now,
        ram=there.ram or placed.ram,
    )


def late(placed: Placed | None, step: Install, id: str, now: float) -> Placed | None:
    """A push has ended; if nobody wants it there any more, and it may have been removed before it came, it has to be
    removed again."""
    if placed is None:
        return Placed(step.node, step.name, step.digest, (), (id,), PlacedState.LEAVING, at=now)
    return placed.changed(state=PlacedState.LEAVING, at=now) if placed.going else None


def not_done(
    placed: Placed | None, step: Install, id: str, cause: str, now: float, *, failed: bool, chance: float
) -> Placed | None:
    """A step was not done. failed: it is not tried again; else it is, after a while that grows. chance: 0 to 1."""
    if placed is None or placed.going or id not in placed.deployments or placed.digest != step.digest:
        return None
    if failed and step.rolling and placed.before:
        # The node still has it, or gets it back.
        return placed.changed(
            digest=placed.before,
            before="",
            state=PlacedState.PENDING,
            rolled=True,
            attempts=0,
            retry_at=0.0,
            cause=cause,
            at=now,
            ready_at=placed.ready_at or now,
        )
    attempts = max(placed.attempts, 1)
    return placed.changed(
        state=PlacedState.FAILED if failed else PlacedState.PENDING,
        retry_at=now + back_off_s(attempts, chance),
        attempts=attempts,
        cause=cause,
        at=now,
    )


def removing(placed: Placed | None) -> Placed | None:
    """Its removal begins."""
    return placed.changed(state=PlacedState.REMOVING) if placed is not None and placed.going else None


def not_removed(placed: Placed | None, cause: str, now: float, *, chance: float) -> Placed | None:
    """A removal was not done."""
    if placed is None or not placed.going:
        return None
    attempts = placed.attempts + 1
    return placed.changed(attempts=attempts, retry_at=now + back_off_s(attempts, chance), cause=cause)
