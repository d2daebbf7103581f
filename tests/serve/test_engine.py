"""The engine: everybody gets what the base alone would have said, whoever else is being served."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.request import End, Request, Token
from mien.decode.slots import BLOCK, Slots
from mien.errors import AdapterError, BusyError, InputError, ModelError
from mien.serve.engine import Engine
from tests import models
from tests.decode.personas import PERSONAS, prompt
from tests.serve.serving import Diary, asked, greedy, held, saved, solo, solo_sampled, unsaid

VOICES = (None, *PERSONAS)


def open_engine(base: Base, **options: int) -> Engine:
    engine = Engine(base, pack=False, **options)
    for name in PERSONAS:
        engine.adopt(name)
    return engine


def test_the_personas_of_these_tests_differ(base: Base) -> None:
    replies = {tuple(t for n in (3, 6, 20) for t in solo(base, prompt(n), name)) for name in VOICES}
    assert len(replies) == len(VOICES)


def test_mixed_rows_of_all_lengths_say_what_each_says_alone(base: Base) -> None:
    # More requests than slots, prompts longer than a chunk and than Gemma's window of 6.
    wanted = [(prompt(3 + 5 * i), VOICES[i % 5]) for i in range(9)]
    with open_engine(base, slots=4, chunk=8) as engine:
        tickets = [engine.submit(asked(ids, name)) for ids, name in wanted]
        assert [t.ids() for t in tickets] == [solo(base, ids, name) for ids, name in wanted]


def test_each_row_has_its_own_sampling_and_seed(llama: Base) -> None:
    wild = Sampling(max_tokens=10, temperature=1.5, top_k=None, top_p=1)
    careful = Sampling(max_tokens=12, temperature=0.8, top_k=20, top_p=0.8, repetition_penalty=1.3)
    wanted = [
        (prompt(4 + i), VOICES[i % 5], (wild, careful, greedy(9))[i % 3], 100 + i) for i in range(7)
    ]
    with open_engine(llama, slots=5) as engine:
        tickets = [
            engine.submit(Request(prompt=ids, adapter=name, sampling=sampling, seed=seed))
            for ids, name, sampling, seed in wanted
        ]
        assert [t.ids() for t in tickets] == [solo_sampled(llama, *each) for each in wanted]


def test_a_reply_ends_at_a_token_a_text_or_its_length(llama: Base) -> None:
    ids = prompt(6)
    reply = solo(llama, ids)
    text = llama.tokenizer.decode(reply[:5])[-2:]
    first = next(n for n in range(1, 13) if text in llama.tokenizer.decode(reply[:n]))
    with open_engine(llama) as engine:
        by_token = engine.submit(asked(ids, ends=frozenset({reply[3]})))
        by_text = engine.submit(asked(ids, stop=("never said", text)))
        by_length = engine.submit(asked(ids, tokens=2))
        assert by_token.ids() == reply[: reply.index(reply[3])]
        assert by_text.ids() == reply[:first]
        assert by_length.ids() == reply[:2]
    ends = [ticket.end for ticket in (by_token, by_text, by_length)]
    assert all(ends)
    assert [(e.reason, e.token, e.stop) for e in ends if e] == [
        ("stop", reply[3], None),
        ("stop", None, text),
        ("length", None, None),
    ]


def test_log_probabilities_are_the_models_own(llama: Base) -> None:
    ids = prompt(6)
    with open_engine(llama) as engine:
        hot = Sampling(max_tokens=3, temperature=3)
        tokens = list(engine.submit(Request(prompt=ids, adapter="poet", sampling=hot, logprobs=2)))
    with llama.adapters.use("poet"), torch.no_grad():
        whole = torch.tensor([[*ids, *(token.id for token in tokens)]])
        logps = torch.log_softmax(llama.model(whole).logits[0, len(ids) - 1 : -1], dim=-1)
    for row, token in zip(logps, tokens, strict=True):
        assert token.logprob == pytest.approx(float(row[token.id]), abs=1e-4)
        assert [each for each, _ in token.top] == row.topk(2).indices.tolist()


def test_a_cancelled_request_frees_its_slot_within_a_step(llama: Base) -> None:
    with open_engine(llama, slots=1) as engine:
        gate, running = held(engine, tokens=100)
        after = Diary(engine)
        engine.submit(asked(prompt(4), "poet", 2), after)
        running.cancel()
        before = engine.figures().steps
        gate.opened.set()
        after.wait()
    assert after.steps[0] == before + 1
    assert isinstance(gate.events[-1], End)
    assert gate.events[-1].reason == "cancelled"
    assert len(gate.ids) == 1


def test_who_still_waits_can_be_cancelled_and_cancelling_twice_is_harmless(llama: Base) -> None:
    with open_engine(llama, slots=1) as engine:
        gate, _ = held(engine, tokens=3)
        waits = engine.submit(asked(prompt(4)))
        waits.cancel()
        waits.cancel()
        gate.opened.set()
        assert waits.ids() == []
        waits.cancel()
        assert engine.submit(asked(prompt(4))).ids() == solo(llama, prompt(4))
    assert waits.end is not None
    assert waits.end.reason == "cancelled"


def test_a_rare_persona_is_not_starved_by_a_popular_one(llama: Base) -> None:
    order: list[str] = []
    with open_engine(llama, slots=1) as engine:
        gate, _ = held(engine, tokens=1)
        for name in ("captain", "captain", "captain", "poet", "captain", "sage"):
            request = asked(prompt(4), name, 1)
            last = engine.submit(
                request, lambda e, n=name: order.append(n) if isinstance(e, End) else None
            )
        gate.opened.set()
        engine.close(finish=True)
    assert order == ["captain", "poet", "sage", "captain", "captain", "captain"]
    assert last.end is not None


def test_a_long_prompt_holds_nobody_up(base: Base) -> None:
    with open_engine(base, slots=4, chunk=8) as engine:
        gate, _ = held(engine)
        answered, short, long = Diary(engine), Diary(engine), Diary(engine)
        engine.submit(asked(prompt(5), "poet", 60), answered)
        engine.submit(asked(prompt(150), "clerk", 2), long)
        engine.submit(asked(prompt(6), "sage", 2), short)
        gate.opened.set()
        for diary in (answered, short, long):
            diary.wait()
    # From its first token on, one at every step, although a chunk of a prompt came along with each.
    assert answered.steps == list(range(answered.steps[0], answered.steps[0] + 60))
    assert long.steps[0] - answered.steps[0] >= (150 - 4 * 8) / 8
    assert short.steps[0] <= long.steps[0] - 10
    assert [e.id for _, e in long.events if isinstance(e, Token)] == solo(base, prompt(150), "clerk", 2)


def test_the_next_turn_reads_only_what_is_new(llama: Base) -> None:
    first = prompt(40)
    with open_engine(llama) as engine:
        reply = engine.submit(asked(first, "poet", 20)).ids()
        turn = [*first, *reply, *prompt(9)]
        ticket = engine.submit(asked(turn, "poet"))
        assert ticket.ids() == solo(llama, turn, "poet")
        assert engine.figures().reused == 3 * BLOCK
    assert ticket.end is not None
    # The last token of a reply has not been read: 59 tokens, 3 whole blocks.
    assert ticket.end.reused == (40 + 20 - 1) // BLOCK * BLOCK == 3 * BLOCK


def test_a_prefix_is_shared_by_content_and_never_across_it(llama: Base, tmp_path: Path) -> None:
    ids = prompt(40)
    with open_engine(llama) as engine:

        def reused(name: str | None) -> int:
            ticket = engine.submit(asked(ids, name, 3))
            assert ticket.ids() == solo(llama, ids, "sage" if name == "twin" else name, 3)
            assert ticket.end is not None
            return ticket.end.reused

        assert [reused(name) for name in VOICES] == [0] * len(VOICES)
        assert [reused(name) for name in VOICES] == [2 * BLOCK] * len(VOICES)
        engine.load("twin", saved(llama, "sage", tmp_path))
        assert reused("twin") == 2 * BLOCK


def test_an_adapter_replaced_while_it_answers_goes_on_as_it_was(llama: Base, tmp_path: Path) -> None:
    ids = prompt(40)
    with open_engine(llama) as engine:
        first = engine.load("voice", saved(llama, "captain", tmp_path / "1"))
        gate, running = held(engine, "voice")
        waits = engine.submit(asked(ids, "voice"))  # asked of the old one, though not yet begun
        second = engine.load("voice", saved(llama, "poet", tmp_path / "2"))
        after = engine.submit(asked(ids, "voice"))
        gate.opened.set()
        assert waits.ids() == solo(llama, ids, "captain")
        assert after.ids() == solo(llama, ids, "poet")
        assert gate.ids == solo(llama, prompt(5), "captain")
        assert engine.loaded["voice"] == second
    ends = [ticket.end for ticket in (running, waits, after)]
    assert [end.version for end in ends if end] == [first, first, second]


def test_an_unloaded_adapter_answers_to_the_end_and_is_then_let_go(llama: Base) -> None:
    with open_engine(llama) as engine:
        gate, _ = held(engine, "sage")
        beside = engine.submit(asked(prompt(7), "poet"))
        engine.unload("sage")
        with pytest.raises(AdapterError, match="'sage'"):
            engine.submit(asked(prompt(5), "sage"))
        with pytest.raises(AdapterError, match="'sage'"):
            engine.unload("sage")
        gate.opened.set()
        assert beside.ids() == solo(llama, prompt(7), "poet")
        assert gate.ids == solo(llama, prompt(5), "sage")
        assert "sage" not in engine.loaded
        assert sum(held is not None for held in engine._batch.stack.held) == 1  # poet


def test_a_broken_adapter_is_refused_and_leaves_nothing(llama: Base, tmp_path: Path) -> None:
    adapters = llama.adapters
    adapters.create("broken", LoraConfig(r=2), seed=0)
    models.shake(adapters, "broken", size=float("inf"))
    folder = saved(llama, "broken", tmp_path)
    adapters.drop("broken")
    with open_engine(llama) as engine:
        with pytest.raises(AdapterError, match="not finite"):
            engine.load("poet", folder)
        assert engine.submit(asked(prompt(5), "poet")).ids() == solo(llama, prompt(5), "poet")
    assert set(adapters.configs) == set(PERSONAS)


def test_an_adapter_that_overflows_fails_alone_and_its_slot_is_clean_after(base: Base) -> None:
    adapters = base.adapters
    adapters.create("huge", LoraConfig(r=2), seed=0)
    models.shake(adapters, "huge", size=1e30)
    with open_engine(base, slots=2) as engine:
        engine.adopt("huge")
        adapters.drop("huge")
        fails = engine.submit(asked(prompt(30), "huge"))
        beside = [engine.submit(asked(prompt(3 + i), "clerk")) for i in range(4)]
        assert [t.ids() for t in beside] == [solo(base, prompt(3 + i), "clerk") for i in range(4)]
        with pytest.raises(ModelError, match="no numbers"):
            fails.ids()


def test_a_slot_left_in_the_middle_of_such_a_prompt_is_clean_too(base: Base) -> None:
    base.adapters.create("huge", LoraConfig(r=2), seed=0)
    models.shake(base.adapters, "huge", size=1e30)
    with open_engine(base, slots=3, chunk=8) as engine:
        engine.adopt("huge")
        base.adapters.drop("huge")
        gate, _ = held(engine)
        third = Diary(engine, lambda _: doomed.cancel() if len(third.steps) == 3 else None)
        engine.submit(asked(prompt(5), "poet"), third)
        doomed = engine.submit(asked(prompt(150), "huge"))
        after = engine.submit(asked(prompt(20), "clerk"))
        gate.opened.set()
        assert after.ids() == solo(base, prompt(20), "clerk")
    assert doomed.end is not None
    assert doomed.end.reason == "cancelled"


def test_a_pass_that_fails_fails_only_for_who_is_the_cause(base: Base) -> None:
    wanted = [(prompt(4 + i), VOICES[i % 5]) for i in range(6)]
    truth = [solo(base, ids, name) for ids, name in wanted]
    poison, embed = unsaid([*truth, solo(base, prompt(5))]), base.model.base_model.embed_tokens

    def check(_: object, given: tuple[torch.Tensor]) -> None:
        if (given[0] == poison).any():
            raise RuntimeError("this token cannot be embedded")

    with open_engine(base, slots=4) as engine:
        hook = embed.register_forward_pre_hook(check)
        gate, _ = held(engine)
        tickets = [engine.submit(asked(ids, name)) for ids, name in wanted[:2]]
        bad = engine.submit(asked((*prompt(7), poison), "poet"))
        tickets += [engine.submit(asked(ids, name)) for ids, name in wanted[2:]]
        gate.opened.set()
        replies = [ticket.ids() for ticket in tickets]
        with pytest.raises(RuntimeError, match="cannot be embedded"):
            bad.ids()
        hook.remove()
        assert engine.alive
        assert engine.figures().ended == {"length": 7, "error": 1}
    assert replies == truth


def test_a_listener_that_fails_loses_its_own_request_only(llama: Base) -> None:
    def fall(_: object) -> None:
        raise OSError("the client went away")

    with open_engine(llama, slots=2) as engine:
        engine.submit(asked(prompt(5), "sage", 50), fall)
        assert engine.submit(asked(prompt(6), "poet")).ids() == solo(llama, prompt(6), "poet")
        assert engine.submit(asked(prompt(7), "sage")).ids() == solo(llama, prompt(7), "sage")
    assert engine.figures().tokens < 50


def test_what_cannot_be_answered_is_refused_when_asked(llama: Base) -> None:
    with open_engine(llama, slots=1, waiting=1) as engine:
        with pytest.raises(InputError, match="a token that the model has not"):
            engine.submit(asked((5, 300)))
        with pytest.raises(InputError, match="may take 257 tokens"):
            engine.submit(asked(prompt(245)))
        with pytest.raises(AdapterError, match="loaded: captain, poet"):
            engine.submit(asked(prompt(5), "stranger"))
        gate, _ = held(engine)
        engine.submit(asked(prompt(5)))
        with pytest.raises(BusyError) as busy:
            engine.submit(asked(prompt(5)))
        assert busy.value.wait
        gate.opened.set()
    with pytest.raises(ModelError, match="closed"):
        engine.submit(asked(prompt(5)))


def test_a_burst_is_taken_up_to_all_slots_and_all_who_may_wait(llama: Base) -> None:
    with open_engine(llama, slots=3, waiting=2) as engine:
        gate, _ = held(engine)  # nobody else is given a slot
        tickets = [engine.submit(asked(prompt(5))) for _ in range(engine.most - 1)]
        with pytest.raises(BusyError):
            engine.submit(asked(prompt(5)))
        gate.opened.set()
        assert len({tuple(ticket.ids()) for ticket in tickets}) == 1


def test_closing_cancels_or_finishes(llama: Base) -> None:
    reasons = []
    for finish in (False, True):
        engine = open_engine(llama, slots=1)
        gate, _ = held(engine)
        waits = engine.submit(asked(prompt(5)))
        closing = threading.Thread(target=engine.close, kwargs={"finish": finish})
        closing.start()
        while engine.alive:
            threading.Event().wait(0.001)
        gate.opened.set()
        closing.join(20)
        assert waits.end is not None
        reasons.append(waits.end.reason)
    assert reasons == ["cancelled", "length"]


def test_if_the_engine_dies_nobody_is_left_waiting(llama: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_engine(llama, slots=1) as engine:
        gate, _ = held(engine)
        tickets = [engine.submit(asked(prompt(5))) for _ in range(2)]
        monkeypatch.setattr(engine._batch.prefixes, "restore", lambda *_: 1 / 0)
        monkeypatch.setattr(engine._batch, "_leave", lambda _: 1 / 0)
        gate.opened.set()
        for ticket in tickets:
            with pytest.raises(ModelError, match="died"):
                ticket.ids()
        with pytest.raises(ModelError):
            engine.submit(asked(prompt(5)))
        assert not engine.alive


def test_rows_move_together_when_most_have_ended(llama: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    moves, move = [], Slots.move
    monkeypatch.setattr(Slots, "move", lambda *given: (moves.append(given[1:3]), move(*given)))
    with open_engine(llama, slots=24) as engine:
        gate, _ = held(engine, tokens=1)
        brief = [engine.submit(asked(prompt(4 + i % 3), VOICES[i % 5], 2)) for i in range(21)]
        long = [engine.submit(asked(prompt(5 + i), VOICES[i], 20)) for i in range(3)]
        gate.opened.set()
        assert [t.ids() for t in long] == [solo(llama, prompt(5 + i), VOICES[i], 20) for i in range(3)]
        assert all(len(t.ids()) == 2 for t in brief)
    assert moves
    assert all(source > target for source, target in moves)


_BESIDE = """
import os, torch
from mien.base.lora import LoraConfig
from mien.serve.engine import Engine
from tests import models
def threads():
    torch.ones(2**22).exp()  # calls this thread's helpers
    return len(os.listdir("/proc/self/task"))
torch.set_num_threads(3)
base = models.tiny_base()
before = threads()
engine = Engine(base, pack=False)
print(len(os.listdir("/proc/self/task")) - before, threads() - before)
base.adapters.create("a", LoraConfig(r=2, alpha=4), seed=0)
engine.adopt("a")
print(len(os.listdir("/proc/self/task")) - before)
engine.close()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells its threads")
def test_whoever_opens_it_or_loads_an_adapter_keeps_no_helpers_from_its_thread() -> None:
    done = subprocess.run([sys.executable, "-c", _BESIDE], capture_output=True, text=True, check=True)
    # Beside the engine's own thread, those who open and load have no helper, unless they compute again.
    assert done.stdout.split() == ["-1", "1", "-1"]
