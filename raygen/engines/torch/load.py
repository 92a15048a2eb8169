"""Loading for the torch engine: the model, its adapters, memory within the budget, and what computes a step."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raygen.engines.templated import rules_of
from raygen.engines.torch.facts import TorchFacts
from raygen.engines.torch.likelihood import Likelihoods
from raygen.engines.torch.masks import Constraints
from raygen.engines.torch.memory.arena import Memory
from raygen.engines.torch.memory.prefixes import Prefixes
from raygen.engines.torch.runner import Stepper
from raygen.engines.worker import start_torch, turn_on
from raygen.errors import EngineError
from raygen.models.resolved import ResolvedModel

if TYPE_CHECKING:
    from raygen.engines.torch.adapters import AdapterBank
    from raygen.models.text.causal_lm import CausalLM


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to generate."""

    lm: CausalLM
    context_tokens: int  # prompt and output together
    constraints: Constraints
    stepper: Stepper
    likelihoods: Likelihoods
    bank: AdapterBank
    turn: AbstractContextManager[Any]  # held while computing: engines of one process take turns
    yardstick: str | None  # for the lineage
    computes: (
        str  # for the lineage: with how many threads, in which dtype when it is not the job's, dated when
    )


def load(model: ResolvedModel, options: TorchFacts.Options) -> Loaded:
    """Load a model. Call it on the thread that will compute.

    Raises:
        EngineError: the device, the memory or the model's directory is not there, or too small.
    """
    if model.path is None:
        raise EngineError(f"model {model.name!r}: its reference was not resolved to a directory")
    device = start_torch(options.threads, options.device)
    turn, computes = turn_on(device)
    from raygen.engines.torch.adapters import AdapterBank
    from raygen.engines.torch.attention.over_slots import ATTENTION
    from raygen.engines.torch.decoder import Decoder
    from raygen.engines.torch.memory.budget import kv_budget
    from raygen.models.stable.products import StableProducts
    from raygen.models.text.causal_lm import load_causal_lm
    from raygen.models.text.lora import load_lora

    try:
        lm = load_causal_lm(model.path, model.spec.dtype, device, ATTENTION, rules_of(model))
        if str(lm.model.dtype) != f"torch.{model.spec.dtype}":
            computes += f", computed in {str(lm.model.dtype).removeprefix('torch.')}"
        if model.date is not None:
            computes += f", prompts dated {model.date}"
        context = min(lm.context_tokens, options.context_tokens or lm.context_tokens)
        positions, blocks = kv_budget(
            lm.model, context, options.max_batch, options.kv_cache_gib, options.prefix_share, model.name
        )
        products = StableProducts(lm.model.device)
        bank = AdapterBank(lm.model, products)
        for name, adapter in model.adapters.items():
            bank.add(name, load_lora(adapter.path), name)
        decoder = Decoder(lm.model, positions, blocks, products, bank.select)
    except (RuntimeError, AssertionError) as error:  # no such device, a device without a driver, no memory
        raise EngineError(f"model {model.name!r} on device {device}: {error}") from error
    vocabulary = lm.model.config.get_text_config(decoder=True).vocab_size
    memory = Memory(positions, context, options.max_batch, decoder.cache)
    tokens = options.prompt_tokens_per_step
    stepper = Stepper(decoder, memory, Prefixes(blocks), options.max_batch, tokens)
    likelihoods = Likelihoods(decoder, memory, tokens)
    constraints = Constraints(lm, vocabulary, model.name)
    return Loaded(lm, context, constraints, stepper, likelihoods, bank, turn, decoder.yardstick, computes)
