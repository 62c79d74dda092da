"""An optimiser step under DeepSpeed ZeRO: stage 2 shards optimiser and gradients over the workers, stage 3 the frozen weights too.

DeepSpeed's own checkpoints are bound to the number of workers that wrote them. What is trained here is small, so each rank hands out
its pieces by parameter name (`Share`), and any later number of workers cuts the whole anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from codelib.train.backends import Batch, adamw, answer_loss
from codelib.train.checkpoints import Share, Whole
from codelib.train.settings import TrainSettings

_MOMENTS = ("exp_avg", "exp_avg_sq")


def configuration(settings: TrainSettings, trainable: int) -> dict[str, Any]:
    """DeepSpeed's configuration for these settings and so many trainable values."""
    zero: dict[str, Any] = {"stage": 3 if settings.strategy == "zero3" else 2}
    # elements, allocated whole; by default 5e8, for models that are trained whole
    zero["reduce_bucket_size"] = trainable
    if settings.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if settings.offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        # numbers that DeepSpeed asks for and no step here follows: micro-batches vary, and `accumulate` says which is a step's last
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.max_grad_norm,
        "bf16": {"enabled": settings.precision == "bf16"},
        # of a step's micro-batches; in the run's precision 64 of them were 1 % away from their sum
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": zero,
        # torch's AdamW under ZeRO: tested by us, not on DeepSpeed's list; its own CPU kernel would need a compiler
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }


class Zero:
    def __init__(self, model: Any, settings: TrainSettings, rank: int, world: int) -> None:
        import deepspeed

        if not torch.cuda.is_available():
            # an all-reduce for inference on CPUs that is of no use here: DeepSpeed compiles it at the first run (40 s), and a process that is
            # killed while it compiles leaves a lock for which every later run waits for ever
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.rank, self.world, self.model = rank, world, model
        self.stage = 3 if settings.strategy == "zero3" else 2
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        parameters = list(self.parameters.values())
        self.engine, self.optimiser, *_ = deepspeed.initialize(
            model=model,
            optimizer=adamw(parameters, settings),
            model_parameters=parameters,
            config=configuration(settings, sum(p.numel() for p in parameters)),
            dist_init_required=False,
        )

    def accumulate(self, batch: Batch, scale: float, last: bool) -> float:
        self.engine.set_gradient_accumulation_boundary(last)
        loss = answer_loss(self.engine, batch)
        self.engine.backward(loss * scale, scale_wrt_gas=False)  # the scale holds the accumulation already
        if not last:
            self.engine.step()  # only counts the micro-batch
        return float(loss.detach())

    def step(self, learning_rate: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.engine.step()
        return float(self.engine.get_global_grad_norm() or 0.0)

    def measure(self, batch: Batch) -> float:
        with torch.no_grad():
            return float(answer_loss(self.engine, batch))

    def forward(self, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            return self.engine(**batch, use_cache=False).logits

    def generate(self, batch: Batch, **options: Any) -> torch.Tensor:
        # under stage 3 every rank has to run as many forwards as the longest answer takes
        with torch.no_grad():
            return self.engine.module.generate(**batch, **options, synced_gpus=self.stage == 3 and self.world > 1)

    @contextlib.contextmanager
    def _gathered(self, changed: bool = False) -> Iterator[None]:
        """Under stage 3 a parameter is spread over the ranks; ``changed``: rank 0's values are spread anew afterwards."""
        if self.stage < 3:
            yield
            return
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(self.parameters.values()), modifier_rank=0 if changed else None):
            yield

    def adapter(self) -> dict[str, torch.Tensor] | None:
        from peft import get_peft_model_state_dict

        with self._gathered():
            if self.rank:
                return None
            state = get_peft_model_state_dict(self.model)
            return {name: tensor.detach().float().cpu().clone() for name, tensor in state.items()}

    def set_adapter(self, weights: Mapping[str, torch.Tensor] | None) -> None:
        from peft import set_peft_model_state_dict

        with self._gathered(changed=True):
            if weights is not None:
                set_peft_model_state_dict(self.model, dict(weights))

    def _flats(self) -> list[torch.Tensor]:
        """The float32 pieces that AdamW steps on here, one for each group."""
        z = self.optimiser
        return list(z.fp32_partitioned_groups_flat if self.stage == 3 else z.single_partition_of_fp32_groups)

    def _piece(self, parameter: Any, kind: str) -> tuple[int, torch.Tensor] | None:
        """This rank's piece of one parameter's ``kind``, as a view, and its place in the whole; None where it has nothing of it."""
        if self.stage == 3:
            group, offset, count = self.optimiser.grad_position[self.optimiser.get_param_id(parameter)]
            flat = self._flats()[group]
            start = count * self.rank  # every rank has as much; the last one's end may be padding
        else:
            mapping = parameter._hp_mapping
            if mapping is None:
                return None
            flat = self._flats()[mapping.param_group_index]
            offset, count = mapping.hp_fragment_address.start, mapping.hp_fragment_address.numel
            start = mapping.lp_fragment_address.start
        held = flat if kind == "weight" else self.optimiser.optimizer.state[flat][kind]
        return start, held.detach().narrow(0, offset, count)

    def share(self) -> Share | None:
        pieces = {}
        for kind in ("weight", *_MOMENTS):
            for name, parameter in self.parameters.items():
                piece = self._piece(parameter, kind)
                if piece is not None:
                    pieces[kind, name] = (piece[0], piece[1].cpu().clone())
        return Share(pieces, int(next(iter(self.optimiser.optimizer.state.values()))["step"]))

    def restore(self, whole: Whole) -> None:
        with self._gathered(changed=True), torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(whole.of("weight", name, parameter.shape))
        for flat in self._flats():
            # as AdamW would have made it at its first step
            moments = {kind: torch.zeros_like(flat) for kind in _MOMENTS}
            self.optimiser.optimizer.state[flat] = {"step": torch.tensor(float(whole.updates)), **moments}
        for kind in ("weight", *_MOMENTS):
            for name, parameter in self.parameters.items():
                piece = self._piece(parameter, kind)
                if piece is not None:
                    start, held = piece
                    mine = whole.tensors[kind, name][start : start + held.numel()]
                    held[: mine.numel()].copy_(mine)

    def discard(self) -> None:
        """Forget gradients that were only tried out."""
        from deepspeed.runtime.zero.stage_1_and_2 import INITIAL_MICRO_STEP_ID

        self.optimiser.zero_grad()
        if self.stage == 2:
            self.optimiser.averaged_gradients = {}
            # else the next micro-batch would be added to what offloading holds of the ones before
            self.optimiser.micro_step_id = INITIAL_MICRO_STEP_ID
