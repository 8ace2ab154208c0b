"""The command line: each verb is its options and a few lines that call the library."""

from __future__ import annotations

from typing import Any

import click

from trackserver import __version__
from trackserver.cli.agree import agree
from trackserver.cli.background import background
from trackserver.cli.catalogue import list_, pairs
from trackserver.cli.encode import encode
from trackserver.cli.hub import hub
from trackserver.cli.ism import ism
from trackserver.cli.models import models
from trackserver.cli.predict import predict
from trackserver.cli.rsids import rsids
from trackserver.cli.score import score
from trackserver.cli.serve import demo, serve
from trackserver.cli.site import add, check, init
from trackserver.cli.train import train
from trackserver.cli.variant import variant
from trackserver.errors import TrackserverError


class Verbs(click.Group):
    """Lists verbs in the order in which you use them; prints our own errors as a sentence, without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrackserverError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            ctx.exit(1)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Predicted and observed genome tracks, and the effects of variants, in a web browser.

    New here? `trackserver demo` shows everything on a synthetic genome, without a network or a GPU.
    """


for verb in (
    demo,
    init,
    add,
    encode,
    list_,
    pairs,
    check,
    models,
    train,
    background,
    rsids,
    predict,
    agree,
    variant,
    score,
    ism,
    hub,
    serve,
):
    main.add_command(verb)
