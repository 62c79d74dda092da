"""What Ray Train leaves behind when the actor that directs its workers dies: the room that they had, and an actor that was to give it back.

Ray 2.60 keeps a placement group until both its creator and its job are gone. For the case that only the controller dies it starts a detached
`PlacementGroupCleaner` with each run. That one asks a dashboard, which a cluster may not have, and ends itself from a thread, which does not
end an actor: it stays on the head node for as long as the cluster lives, one for each driver or controller that was killed. Here the driver
removes the groups of its job itself before it starts another controller; with the driver gone Ray does so, since job and creator are.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.torch.torch_trainer import TorchTrainer
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group


class Trainer(TorchTrainer):
    """Without the detached actor."""

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if not isinstance(one, PlacementGroupCleanerCallback)]


def give_back() -> None:
    """Remove every placement group of this job. To be called when no controller of it is alive."""
    job = ray.get_runtime_context().get_job_id()
    for name, group in placement_group_table().items():
        if name.endswith(job) and group["state"] != "REMOVED":  # an id ends in that of its job
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))
