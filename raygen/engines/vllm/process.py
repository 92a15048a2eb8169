"""vLLM's asynchronous engine and the processes that it starts: loaded, asked one sample at a time, and ended cleanly."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from raygen.engines.finish import finish_of
from raygen.engines.vllm.orphans import OrphanGuard
from raygen.engines.vllm.params import engine_args, lora_args
from raygen.errors import EngineError, RowError, first_line

if TYPE_CHECKING:
    from raygen.models.resolved import ResolvedModel


class VLLMProcess:
    """All errors that leave it are raygen's: RowError for one sample, EngineError when vLLM as a whole is gone."""

    context: int  # tokens of prompt and output together
    vocabulary: int  # number of tokens

    def __init__(self, model: ResolvedModel) -> None:
        self._name = model.name
        self._model = model
        self._llm: Any = None
        self._guard = OrphanGuard()
        self._ids = itertools.count()

    def load(self, options: Any, context_tokens: int) -> None:
        """Start vLLM: takes seconds to minutes, blocks. Raises EngineError."""
        from raygen.models.text.lora import load_lora

        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would report to its makers
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        # Forked from a process with threads, as an actor is, its own process might wait for ever for a lock.
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        try:
            from vllm import SamplingParams
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.exceptions import VLLMClientError
            from vllm.inputs import tokens_input
            from vllm.lora.peft_helper import PEFTHelper
            from vllm.lora.request import LoRARequest
            from vllm.platforms import current_platform
            from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
            from vllm.v1.engine.async_llm import AsyncLLM
            from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
        except Exception as error:  # also of the libraries below it, whatever they raise
            raise EngineError(
                f"model {self._name!r}: vLLM is installed but does not load: {first_line(error)}"
            ) from error
        self._SamplingParams, self._tokens_input = SamplingParams, tokens_input
        self._StructuredOutputsParams = StructuredOutputsParams
        self._kinds = {True: RequestOutputKind.DELTA, False: RequestOutputKind.FINAL_ONLY}
        self._ClientError, self._DeadError = VLLMClientError, EngineDeadError
        self._GenerateError = EngineGenerateError
        # Read here too: what raygen does not know is refused alike by both engines.
        ranks = [
            part.a_RI.shape[0]
            for adapter in self._model.adapters.values()
            for part in load_lora(adapter.path).values()
        ]
        self._adapters = {
            name: LoRARequest(name, number, adapter.path)
            for number, (name, adapter) in enumerate(sorted(self._model.adapters.items()), 1)
        }
        for name, adapter in self._model.adapters.items():
            try:  # vLLM would do it at the first request, and end
                PEFTHelper.from_local_dir(adapter.path, None)
            except Exception as error:
                raise EngineError(f"adapter {name!r}: vLLM refuses it: {first_line(error)}") from error
        arguments = engine_args(self._model, options, context_tokens, cpu=current_platform.is_cpu())
        arguments |= lora_args(len(self._adapters), max(ranks, default=0))
        try:
            self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        except Exception as error:
            raise EngineError(
                f"model {self._name!r}: vLLM did not start: {first_line(error)} "
                "(the lines that its process logged before say why)"
            ) from error
        self.context = int(self._llm.model_config.max_model_len)
        self.vocabulary = int(self._llm.model_config.get_vocab_size())

    def watch_children(self) -> None:
        """Guard the processes that have started so far: they are to end with this one."""
        self._guard.watch_children()

    def release_children(self) -> None:
        """Let go of the processes, which vLLM has ended itself."""
        self._guard.release()

    async def ask(
        self,
        prompt: list[int],
        params: dict[str, Any],
        adapter: str | None,
        structured: dict[str, Any] | None,
        *,
        stream: bool,
        priority: int = 0,
    ) -> AsyncGenerator[Any, None]:
        """Yield vLLM's `RequestOutput`s of one sample: all that is new each time, or only the whole at the end.

        A caller that stops listening cancels the sample. Raises RowError, EngineError.
        """
        try:
            settings = self._SamplingParams(
                **params,
                output_kind=self._kinds[stream],
                # One for each sample: vLLM writes in it.
                structured_outputs=self._StructuredOutputsParams(**structured) if structured else None,
            )
            outputs = self._llm.generate(
                self._tokens_input(prompt),
                settings,
                str(next(self._ids)),
                lora_request=self._adapters[adapter] if adapter is not None else None,
                priority=priority,
            )
            async with aclosing(outputs):
                async for output in outputs:
                    reason = output.outputs[0].finish_reason
                    if reason is not None and finish_of(reason) is None:
                        raise RowError("generation_failed", f"vLLM ended the text with {reason!r}")
                    yield output
        except RowError:
            raise
        except self._ClientError as error:
            raise RowError(
                "invalid_sampling",
                f"vLLM refuses it: {first_line(error)}",
                public="the engine refuses the sampling settings",
            ) from error
        except self._GenerateError as error:
            if self._llm.errored:
                raise self._gone(error) from error
            raise RowError("generation_failed", f"vLLM: {first_line(error.__cause__ or error)}") from error
        except Exception as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> EngineError:
        cause = "its process has ended" if isinstance(error, self._DeadError) else first_line(error)
        return EngineError(f"model {self._name!r}: vLLM stopped: {cause}")

    def close(self) -> None:
        """To be called in the event loop's thread: else vLLM's own task would log the end of its process as a failure."""
        if self._llm is not None:
            llm, self._llm = self._llm, None
            llm.shutdown()
            self._guard.release()
