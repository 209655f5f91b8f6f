"""What answers open questions: a model folder read here, or by vLLM; or an OpenAI-compatible endpoint."""

from __future__ import annotations

import concurrent.futures
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge.chat import Endpoint, Refused, read_key
from lorebridge.errors import InputError
from lorebridge.probes.answering import Asked, Local, Reply, Responder, end_tokens, form_of, split_thought, stopper
from lorebridge.probes.generation import Writer
from lorebridge.probes.models import check_causal, check_vocabulary, load_model, load_tokenizer, positions
from lorebridge.probes.wording import CHAT, END, ENDPOINT, LENGTH, OFF, STOP, THOUGHT, VLLM, Manner

log = logging.getLogger("lorebridge.probes")

VLLM_BATCH = 4096
"""Questions that vLLM is given at a time: what a killed job loses at most."""
WITHHELD = "withheld"
"""How an answer ended that an endpoint's filter does not give out."""


def own(folder: Path, manner: Manner, *, batch_tokens: int, device: str | None = None) -> Local:
    """Return what answers with a causal language model of a folder, in float32.

    Args:
        folder: of Hugging Face's form.
        manner: how questions are put.
        batch_tokens: tokens of a batch, padding and what is written included.
        device: where to compute; by default the GPU where there is one.

    Raises:
        InputError: it is no causal language model, has no chat template where one is needed, or a question with its
            answer is longer than the model reads.
    """
    import torch

    tokenizer = load_tokenizer(folder)
    model = load_model(folder, torch.float32, device)
    writer = Writer(model, ends=end_tokens(tokenizer, model.generation_config), batch_tokens=batch_tokens)
    checked = False

    def generate(
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stops: Sequence[str],
        temperature: float,
        seeds: Sequence[Sequence[int]],
    ) -> Iterator[Mapping[int, tuple[str, int, str]]]:
        nonlocal checked
        if prompts and not checked:
            check_vocabulary(model, tokenizer, prompts, folder)
            check_causal(model, prompts, folder)
            checked = True
        check_room(prompts, max_tokens, positions(model), folder)
        for batch in writer.write(
            prompts, max_tokens=max_tokens, stopped=stopper(tokenizer, stops), temperature=temperature, seeds=seeds
        ):
            yield {
                place: (
                    str(tokenizer.decode(list(written.tokens), skip_special_tokens=False)),
                    len(written.tokens),
                    written.ended,
                )
                for place, written in batch.items()
            }

    return Local(tokenizer, generate, manner, checked_form(manner, tokenizer))


def vllm(folder: Path, manner: Manner, *, gpus: int, max_model_len: int | None) -> Local:
    """Return what answers with a model of a folder that vLLM reads.

    Code that comes with a model is never run. What is written may change with the hardware and with what else is in
    the batch, as rounding does.

    Args:
        folder: of Hugging Face's form.
        manner: how questions are put.
        gpus: GPUs that share the model; 0 where vLLM runs on the CPU.
        max_model_len: tokens that the model reads and writes; None is all that it can.

    Raises:
        InputError: vLLM is not installed, or as :func:`own`.
    """
    # vLLM would otherwise tell a server of its makers that it is used, and set up logging in a way that closes the log
    # file of this job.
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        raise InputError(
            "answering.engine",
            f"vllm does not work in this environment ({error})",
            "Let Snakemake make its own (--software-deployment-method conda), or use own.",
        ) from error
    tokenizer = load_tokenizer(folder)
    engine = LLM(
        model=str(folder),
        max_model_len=max_model_len,
        tensor_parallel_size=max(gpus, 1),
        trust_remote_code=False,
        enable_prefix_caching=True,
        seed=manner.seed,
    )
    ends = end_tokens(tokenizer)

    def generate(
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stops: Sequence[str],
        temperature: float,
        seeds: Sequence[Sequence[int]],
    ) -> Iterator[Mapping[int, tuple[str, int, str]]]:
        check_room(prompts, max_tokens, engine.llm_engine.model_config.max_model_len, folder)
        for start in range(0, len(prompts), VLLM_BATCH):
            places = range(start, min(start + VLLM_BATCH, len(prompts)))
            sampling = [
                SamplingParams(
                    temperature=temperature,
                    seed=_seed(seeds[place]) if temperature else None,
                    max_tokens=max_tokens,
                    stop=list(stops),
                    include_stop_str_in_output=True,
                    stop_token_ids=sorted(ends),
                    skip_special_tokens=False,
                )
                for place in places
            ]
            requests: Any = [{"prompt_token_ids": list(prompts[place])} for place in places]
            found = {}
            for place, output in zip(places, engine.generate(requests, sampling, use_tqdm=False), strict=True):
                said = output.outputs[0]
                ended = LENGTH if said.finish_reason == "length" else STOP if said.stop_reason in stops else END
                n = len([token for token in said.token_ids if token not in ends])
                found[place] = (said.text, n, ended)
            yield found

    return Local(tokenizer, generate, manner, checked_form(manner, tokenizer))


def reading_model(
    kind: str,
    model: str | None,
    manner: Manner,
    *,
    revision: str | None = None,
    base_url: str | None = None,
    key_env: str | None = None,
    concurrency: int = 8,
    gpus: int = 0,
    max_model_len: int = 8192,
    section: str,
) -> tuple[list[Any], Callable[[], Responder]]:
    """Return what makes a reply this model's, and what loads a model that reads what others have written.

    Args:
        kind: ``vllm`` or ``endpoint``.
        model: vllm: a folder, or a hub id with its `revision`; endpoint: its name there.
        manner: how it is asked.
        revision: vllm: the commit.
        base_url, key_env, concurrency: endpoint: see :func:`endpoint`.
        gpus, max_model_len: vllm.
        section: of the configuration, that says all this.

    Raises:
        InputError: the kind is not known, or lacks what it needs.
    """
    if model is None or (kind == ENDPOINT) != (base_url is not None):
        raise InputError(section, f"{kind} lacks its model or its address, or has one too many", "Mend it.")
    if kind == ENDPOINT and base_url is not None:
        there = endpoint(
            model,
            manner,
            base_url=base_url,
            key_env=key_env,
            concurrency=concurrency,
            timeout=120.0,
            answers_as=(),
            extra={},
            section=section,
        )
        return [kind, model], lambda: there
    if kind != VLLM:
        raise InputError(section, f"{kind!r} is not known", f"There are {VLLM} and {ENDPOINT}.")
    return [kind, model, revision], lambda: vllm(
        _fetched(model, revision), manner, gpus=gpus, max_model_len=max_model_len
    )


def _fetched(model: str, revision: str | None) -> Path:
    """Return the folder of a model, which is one itself or of the hub."""
    from huggingface_hub import snapshot_download

    if Path(model).is_dir():
        return Path(model)
    patterns = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]
    return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))


def _seed(parts: Sequence[int]) -> int:
    """Return one number from several, as those of a prompt's draws are."""
    import numpy as np

    return int(np.random.SeedSequence(list(parts)).generate_state(1)[0])


def checked_form(manner: Manner, tokenizer: Any) -> str:
    """Return how a model is asked.

    Raises:
        InputError: by a chat template, and it has none.
    """
    form = form_of(manner.form, tokenizer)
    if form == CHAT and not tokenizer.chat_template:
        raise InputError(tokenizer.name_or_path, "has no chat template", "Ask it with form: plain.")
    return form


def check_room(prompts: Sequence[Sequence[int]], max_tokens: int, room: int | None, where: object) -> None:
    """Refuse prompts behind which there is no room for an answer.

    Raises:
        InputError: says how many, and how long the longest is.
    """
    if room is None:
        return
    long = [len(prompt) for prompt in prompts if len(prompt) + max_tokens > room]
    if long:
        raise InputError(
            where,
            f"reads {room} tokens, and {len(long)} of {len(prompts)} prompts leave no room for {max_tokens} more (the "
            f"longest has {max(long)})",
            "Ask for fewer tokens, or take the long questions out.",
        )


def endpoint(
    model: str,
    manner: Manner,
    *,
    base_url: str,
    key_env: str | None,
    concurrency: int,
    timeout: float,
    answers_as: Collection[str],
    extra: Mapping[str, Any],
    section: str,
) -> Served:
    """Return what asks a model behind an OpenAI-compatible endpoint.

    Args:
        model: its name there.
        manner: how questions are put.
        base_url: of the API, as ``https://host/v1``.
        key_env: the environment variable that holds the key; None where there is none.
        concurrency: requests open at a time.
        timeout: seconds without a sign of the endpoint after which a request is tried again.
        answers_as: further names under which the model may answer.
        extra: what a request says beside, as the service wants it: how it is told to think, above all.
        section: of the configuration, that says all this.

    Raises:
        InputError: no address, no key, or a form that is not ``chat``.
    """
    if manner.form not in (None, CHAT):
        raise InputError(section, "an endpoint is asked by messages alone", "Leave `form` out, or say chat.")
    there = Endpoint(
        model,
        base_url=base_url,
        key=read_key(key_env, section),
        section=section,
        timeout=timeout,
        answers_as=answers_as,
    )
    return Served(there, manner, concurrency, extra)


class Served:
    """Answers from an endpoint; see :func:`endpoint`."""

    form = CHAT

    def __init__(self, there: Endpoint, manner: Manner, concurrency: int, extra: Mapping[str, Any]) -> None:
        """Keep what is given."""
        self._there, self._manner, self._concurrency, self._extra = there, manner, concurrency, dict(extra)
        self._limit = "max_tokens"

    def __call__(self, asked: Sequence[Asked]) -> Iterator[Mapping[int, Reply]]:
        """Yield answers one by one, as they come. Where one fails, those that are on their way are waited for."""
        with concurrent.futures.ThreadPoolExecutor(self._concurrency) as pool:
            futures = {pool.submit(self._ask, one): place for place, one in enumerate(asked)}
            failed: BaseException | None = None
            for future in concurrent.futures.as_completed(futures):
                if future.cancelled():
                    continue
                if (error := future.exception()) is None:
                    yield {futures[future]: future.result()}
                elif failed is None:
                    failed = error
                    for other in futures:
                        other.cancel()
        if failed is not None:
            raise failed

    def _ask(self, asked: Asked) -> Reply:
        manner = self._manner
        thinks = manner.thinking_tokens or 0 if manner.thinking != OFF else 0
        options: dict[str, Any] = {"temperature": manner.temperature, "extra_body": self._extra}
        if manner.temperature != 0:
            options["seed"] = manner.seed + asked.sample
        if manner.stop:
            options["stop"] = list(manner.stop)
        try:
            said = self._limited(asked.text, manner.max_tokens + thinks, options)
        except Refused as error:
            # Some services say so, instead of answering, of a question that their filter does not like.
            if "content_filter" not in str(error) and "content_policy" not in str(error):
                raise
            return Reply("", "", WITHHELD, False, None, None, None)
        return read_reply(said, manner)

    def _limited(self, text: str, most: int, options: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._there.ask(text, **{self._limit: most}, **options)
        except Refused as error:
            if self._limit != "max_tokens" or "max_completion_tokens" not in str(error):
                raise
            self._limit = "max_completion_tokens"  # for all that are asked from now on
            return self._there.ask(text, **{self._limit: most}, **options)


def read_reply(said: Mapping[str, Any], manner: Manner) -> Reply:
    """Return the reply in what :meth:`lorebridge.chat.Endpoint.ask` gives."""
    thought, answer = split_thought(said["content"], False, manner.marks)
    thought = "\n".join(filter(None, [said["reasoning"].strip(), thought])) or ""
    finish = said["finish"]
    ended = {"length": LENGTH, "content_filter": WITHHELD}.get(finish or "", END)
    if ended == LENGTH and thought and not answer:
        ended = THOUGHT
    n, of_thought = said["tokens"], said["reasoning_tokens"]
    left = None if n is None else n - (of_thought or 0) if of_thought is not None or not thought else None
    return Reply(answer or "", thought, ended, False, left, of_thought if thought else 0, said["model"])
