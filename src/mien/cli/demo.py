"""`mien demo`: the story of `pipeline.py`, told on a terminal."""

from __future__ import annotations

import click

from mien.base.fetch import DEFAULT_BASE
from mien.cli.output import console
from mien.cli.show import terminal_show


@click.command("demo")
@click.option("--persona", default="witty", show_default=True, help="A built-in voice.")
@click.option("--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="The base model.")
def demo(persona: str, base_ref: str) -> None:
    """The whole story in a few minutes, on this machine.

    Fetches the base model, trains one personality, measures it on prompts it never saw beside the bare
    base and a system prompt alone, and writes a report. A second run reuses what is there.
    """
    from mien import pipeline
    from mien.evaluate.pages.terminal import table
    from mien.evaluate.pages.verdict import verdict

    with terminal_show() as show:
        story = pipeline.demo(persona, base_ref=base_ref, show=show)
    out = console()
    out.print()
    out.print(table(story.evaluation))
    out.print(verdict(story.evaluation).headline, style="bold", markup=False)
    out.print(f"\nReport: {story.page.resolve()}", soft_wrap=True, markup=False)
    base_flag = "" if base_ref == DEFAULT_BASE else f" --base {base_ref}"
    out.print(f"Talk to it: mien chat --persona {persona}{base_flag}", markup=False)
    out.print(
        f"Side by side: mien chat --persona {persona} --compare base,prompt,{persona}{base_flag}",
        markup=False,
    )
