"""What can happen next: each action draws from the world's generator, and says what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.ports import Output
from ops.simulation.gateways import TROUBLES
from ops.simulation.poison import send_poison
from ops.simulation.shard_log import CHANGELOG_ACK, OUTPUT_ACK
from ops.simulation.shards import SHARDS
from ops.simulation.stepping import IDLE
from schemas import topics

if TYPE_CHECKING:
    from ops.simulation.world import World

#: Where a crash hurts most.
POINTS = ("changelog append", CHANGELOG_ACK, "output append", OUTPUT_ACK, "offset commit")


def work(world: World) -> str:
    """One shard goes on for a while."""
    cluster, rng = world.cluster, world.rng
    tasks = cluster.tasks
    if not tasks:
        return "nobody"
    busy = [one for one in tasks if one.label != IDLE or cluster.lag(one.key)]
    task = rng.choice(busy if busy and rng.random() < 0.95 else tasks)
    most = rng.choice((1, 3, 6, 12, 30, 60))
    for _ in range(most):
        if not cluster.advance(task):
            break
    return f"{task.process.name} {task.key} {most} to {task.label}"


def sweep(world: World) -> str:
    """The sweeps look for windows whose time has come, and for approvers who left."""
    return f"{sweep_all(world, world.rng.random() < 0.2)} due"


def sweep_all(world: World, half: bool = False) -> int:
    """All sweeps; `half`: they die half way, or their sends are lost. How many commands of the system were due."""
    now = world.broker.clock.now
    due = [output for task in world.cluster.tasks if task.sweep is not None for output in task.sweep.due(now)]
    return _send(world, due, half) + restaff_all(world, half)


def restaff_all(world: World, half: bool = False) -> int:
    """All passes for who left, as `sweep_all`."""
    now = world.broker.clock.now
    looking = [task.restaffing for task in world.cluster.tasks if task.restaffing is not None]
    # Twice: a pass that is under way ends, and one for what has changed since is made.
    return _send(world, [output for one in looking for _ in range(2) for output in one.work(now)], half)


def _send(world: World, due: list[Output], half: bool) -> int:
    for output in due:
        if half and world.rng.random() < 0.5:
            world.faults["system's command lost"] += 1
            continue
        world.broker.append(output.topic, output.partition or 0, output.key, output.value, output.headers)
    return len(due)


def pass_time(world: World) -> str:
    """Nothing, for longer."""
    amount = world.rng.choice((100, 500, 2_000, 5_000, 12_000, 25_000))
    world.broker.clock.now += amount
    return f"{amount} ms"


def follow(world: World) -> str:
    """Everybody reads some of what is new in the reference data."""
    for process in world.cluster.alive:
        process.follow(world.rng.randint(0, 3))
    for gateway in world.gateways:
        gateway.follow(world.rng.randint(0, 3))
    return "reference"


def burst(world: World) -> str:
    """More refusals than a record remembers."""
    world.faults["more refusals than remembered"] += 1
    return world.clients.burst()


def crash(world: World) -> str:
    """One worker dies where it stands."""
    cluster = world.cluster
    if not cluster.alive:
        return "nobody"
    process = world.rng.choice(cluster.alive)
    labels = [(task.key, task.label) for task in process.tasks.values()]
    cluster.crash(process)
    return f"{process.name} at {labels}"


def crash_at(world: World) -> str:
    """Crash at one chosen kind of point, so that the rare ones are not left to luck."""
    cluster, rng = world.cluster, world.rng
    tasks = [one for one in cluster.tasks if one.label != IDLE or cluster.lag(one.key)]
    if not tasks:
        return "nobody"
    task, label = rng.choice(tasks), rng.choice(POINTS)
    for _ in range(40):
        if not cluster.advance(task) or (task.label == label and rng.random() < 0.5):
            break
    if task.process.alive:
        cluster.crash(task.process)
    return f"{task.process.name} {task.key} at {task.label}"


def restart(world: World) -> str:
    """A worker that is down comes back; what has no owner gets one."""
    cluster = world.cluster
    dead = [process for process in cluster.processes if not process.alive]
    if dead:
        world.rng.choice(dead).start()
    cluster.assign_orphans()
    return f"{len(dead)} were dead"


def hand_over(world: World) -> str:
    """A shard goes to another worker, or anew to the same."""
    key = world.rng.choice(SHARDS)
    world.cluster.hand_over(key, told=True)
    return str(key)


def zombie(world: World) -> str:
    """A shard goes to another worker, and the one before does not know."""
    key = world.rng.choice(SHARDS)
    world.cluster.hand_over(key, told=False)
    return str(key)


def skew(world: World) -> str:
    """The broker's clock steps."""
    world.faults["clock step"] += 1
    world.broker.clock.skew = world.rng.choice((-30_000, -3_000, 0, 0, 3_000, 30_000))
    return f"{world.broker.clock.skew} ms"


def poison(world: World) -> str:
    """A record that nobody can process."""
    world.faults["poison record"] += 1
    return send_poison(world.broker, world.watch, world.rng, world.clients.new_id)


def flush_disk(world: World) -> str:
    """What the local stores hold now is what a power cut leaves of them, and what a backup of PostgreSQL has."""
    for process in world.cluster.processes:
        for store in process.stores():
            store.remember()
    world.database.backup = world.database.tables.copy()
    return "done"


def database(world: World) -> str:
    """PostgreSQL goes or comes back, or the next statements fail half-way, or are carried out and not answered."""
    held = world.database
    if held.down:
        held.down = False
        return "back"
    fate = world.rng.choice(("away", "rolled back", "answer lost"))
    if fate == "away":
        world.faults["database away"] += 1
        held.down = True
    else:
        held.fates = [fate] * world.rng.choice((1, 1, 2, 5))
    return fate


def rebuild(world: World) -> str:
    """`athena projector rebuild` while everything runs, or PostgreSQL is set back to an older copy of itself."""
    held = world.database
    if held.backup is not None and world.rng.random() < 0.5:
        world.faults["read side set back"] += 1
        held.tables, held.backup = held.backup, None
        world.mirror.replaced()
        return "set back"
    world.faults["read side rebuilt"] += 1
    ends = {number: world.broker.end(topics.AUDIT, number) for number in held.tables.offsets}
    made = world.mirror.read_again(
        {number: world.rng.randint(held.tables.offsets[number], ends[number]) for number in ends}
    )
    held.tables.swap(made)
    world.mirror.replaced()
    return f"rebuilt up to {made.offsets}"


def network(world: World) -> str:
    """The way between gateways and the broker is troubled for some seconds."""
    trouble = world.rng.choice(TROUBLES)
    if trouble == "outcomes cut off":
        world.faults[trouble] += 1
        world.rng.choice(world.gateways).cut_off()
    else:
        world.network.trouble = trouble
        world.network.until = world.broker.clock.now + world.rng.choice((1_000, 5_000, 15_000))
    return trouble


def gateway_restart(world: World) -> str:
    """A gateway dies with all that it remembered, and starts again."""
    world.faults["gateway restart"] += 1
    gateway = world.rng.choice(world.gateways)
    gateway.restart()
    return gateway.name


ACTIONS: dict[str, Callable[[World], str]] = {
    "command": lambda world: world.clients.act(),
    "administer": lambda world: world.admin.act(),
    "sign_in": lambda world: world.admin.sign_in(),
    "projector_down": lambda world: world.projection.kill_one(),
    "projector_up": lambda world: world.projection.start_one(),
    "projector_moved": lambda world: world.projection.move(told=True),
    "projector_zombie": lambda world: world.projection.move(told=False),
    "look": lambda world: world.intents.look(),
    **{
        one.__name__: one
        for one in (
            work, sweep, pass_time, follow, burst, crash, crash_at, restart, hand_over, zombie, skew, poison, flush_disk,
            database, rebuild, network, gateway_restart,
        )
    },
}  # fmt: skip
