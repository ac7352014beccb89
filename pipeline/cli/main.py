"""The command `ish`: its verbs, and where each is defined. A verb is imported only when it is called."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from pipeline.cli.borders import unbroken
from pipeline.cli.console import PLAIN, say
from pipeline.core.did_you_mean import hint
from pipeline.core.errors import ConfigError, OlderRunWarning, PipelineError


@dataclass(frozen=True)
class Verb:
    """Where a verb is defined: a function of a module, or `app`, which has verbs of its own.

    Attributes
    ----------
    module : str
        Module of `pipeline.cli`.
    name : str
        Function, or Typer application.
    help : str
        Text in the list of verbs.
    settings : dict of str to Any
        Context settings of the command.
    """

    module: str
    name: str
    help: str
    settings: dict[str, Any] = field(default_factory=dict)

    def load(self, verb: str) -> Any:
        """Import the verb and return its command.

        Parameters
        ----------
        verb : str
            Name of the verb.

        Returns
        -------
        click.Command
            Command.
        """
        found: Callable[..., Any] | typer.Typer = getattr(
            import_module(f"pipeline.cli.{self.module}"), self.name
        )
        own = found
        if not isinstance(found, typer.Typer):
            own = typer.Typer(**PLAIN)
            own.command(verb, context_settings=self.settings)(found)
        return typer.main.get_command(own)  # type: ignore[arg-type]


VERBS = {
    "run": Verb("run", "run", "Take series of sections through every stage.", {"allow_extra_args": True}),
    "config": Verb("config", "app", "Show, describe and check a configuration."),
    "status": Verb(
        "status", "status", "Show the progress of every series and stage, and what would run again."
    ),
    "report": Verb("status", "report", "Rewrite the report page of a run, or of all runs of a folder."),
    "demo": Verb("demo", "demo", "Take a phantom series through the whole pipeline, without any data."),
    "phantom": Verb("phantom", "phantom", "Render an ISH series of a brain with known truth."),
    "export": Verb(
        "export", "export_run", "Export a finished run, or all runs of a folder, to another format."
    ),
    "init": Verb("init", "init", "Write a manifest for a folder of section images."),
    "compare": Verb("compare", "compare", "Compare two runs."),
    "compare-groups": Verb("compare_groups", "compare_groups", "Compare two groups of animals by structure."),
    "fetch": Verb("fetch", "fetch", "Download experiments of the atlas: images, manifest, grids."),
    "unionize": Verb("unionize", "unionize", "Sum a served grid over the structures of a reference."),
    "index": Verb("search", "build", "Build a search index from runs and served grids."),
    "search": Verb("search", "app", "Search over the experiments of an index."),
    "serve": Verb(
        "serve", "serve_runs", "Serve finished runs over HTTP: the atlas's own API, images, search."
    ),
    "view": Verb("view", "view", "Look at finished runs in the browser."),
    "sync": Verb("sync", "app", "Map pixels to the reference space and back."),
    "reference": Verb("reference", "app", "Show a reference space, fetch an official one, or build one."),
}


class Verbs(TyperGroup):
    """The group of all verbs, none of which is imported before it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs, in the order of their use."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a verb.

        Parameters
        ----------
        ctx : click.Context
            Context, not used.
        cmd_name : str
            Name of the verb.

        Returns
        -------
        click.Command or None
            None where there is no verb of this name.
        """
        return VERBS[cmd_name].load(cmd_name) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the verb that the arguments name.

        Parameters
        ----------
        ctx : click.Context
            Context.
        args : list of str
            Arguments, the verb first.

        Returns
        -------
        (str, click.Command, list of str)
            Name, command and remaining arguments; for an unknown verb, a usage error names the nearest known
            one.
        """
        if args[0] not in VERBS:
            ctx.fail(f"no command {args[0]!r}; {hint(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the verbs with the help texts that are known without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


app = typer.Typer(name="ish", cls=Verbs, no_args_is_help=True, **PLAIN)


@app.callback()
def ish() -> None:
    """From scanned in situ hybridisation sections to expression in brain structures."""


def main() -> None:
    """Run the command.

    Errors of this package are printed as one line; the exit status is 2 for usage and configuration, else 1.
    """
    warnings.showwarning = _one_line
    with unbroken():
        try:
            app()
        except PipelineError as error:
            say(f"ish: {error}")
            sys.exit(2 if isinstance(error, ConfigError) else 1)


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning of this package as one line, once; those of libraries are for developers."""
    if isinstance(message, OlderRunWarning) and str(message) not in _SHOWN:
        _SHOWN.add(str(message))
        say(f"warning: {message}")


_SHOWN: set[str] = set()  # libraries reset what Python remembers of warnings
