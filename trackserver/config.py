"""Settings of a site: its trackserver.toml, overridden by TRACKSERVER_* variables, overridden by flags.

`Settings` is the one table of names, defaults and help: the command line, the docs and validation read it.
A name it does not hold is an error wherever it comes from.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from trackserver.errors import BadSetting, listing

FILE = "trackserver.toml"
PREFIX = "TRACKSERVER_"
SITE_VARIABLE = f"{PREFIX}SITE"


class AssemblyFiles(BaseModel):
    """What a site has of an assembly; paths are relative to the site unless absolute."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chromsizes: Path | None = Field(None, description="chromsizes file; without it the FASTA's order, or the known one")
    fasta: Path | None = Field(None, description="FASTA, plain or bgzip; predictions need it")
    genes: Path | None = Field(None, description="gene models: UCSC's refGene table, GTF or GFF3, plain or gzip")
    repeats: Path | None = Field(None, description="BED of repeats, for warnings; without it the FASTA's lower case")
    blacklist: Path | None = Field(None, description="BED of regions whose signals mean nothing, for warnings")
    chains: dict[str, Path] = Field({}, description="chain files that lead here, by the assembly they come from")


class Example(BaseModel):
    """A variant the page offers to a newcomer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(description="the variant as it would be typed")
    label: str = Field(description="what it shows, in a few words")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    title: str = Field("trackserver", description="name of the site, in the page and in shared links")
    notice: str = Field("", description="one line the page always shows, such as what the data are")
    assembly: str = Field("", description="the assembly that opens first")
    assemblies: dict[str, AssemblyFiles] = Field({}, description="the files of each assembly")
    model: str = Field("", description="the model that opens first; the only one installed if there is one")
    locus: str = Field("", description="where the page opens, as typed: chr1:47,680,001-47,700,000")
    rows: list[list[str]] = Field([], description="rows the page opens with, each one or two tileset uids")
    examples: list[Example] = Field([], description="variants the page offers")
    show: str = Field("", description="a variant whose effect the page shows at once")
    database: str = Field("", description="SQLAlchemy URL of the catalogue; empty: SQLite inside the site")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 lets other machines in")
    port: int = Field(8989, ge=1, le=65535, description="port to listen on")
    cache_mb: int = Field(512, ge=16, description="memory for tiles and the blocks they are made of, in MB a worker")
    workers: int = Field(1, ge=1, le=64, description="processes that answer; each holds its own cache and model")
    threads: int = Field(16, ge=1, le=256, description="requests answered at the same time, by each process")
    models_in_memory: int = Field(4, ge=1, le=64, description="models a process keeps loaded; the largest take 4 GB")
    reference_cache_mb: int = Field(512, ge=64, description="memory for what models keep of windows they have read")
    impact_weights: dict[str, float] = Field({}, description="what an assay's tracks count in impact; 1 unless said")
    device: str = Field("auto", description="where models run: auto, cpu, cuda:0")
    cluster: str = Field(
        "",
        description="Ray cluster that computes effects: ray://host:10001, auto, local; empty: a process of the server",
    )
    cluster_replicas: int = Field(1, ge=1, le=1000, description="replicas of the models on it, with a GPU each")
    max_tile_ids: int = Field(1000, ge=15, description="tiles one request may ask for")
    max_request_bytes: int = Field(4_000_000, ge=10_000, description="largest request body")
    lists_kept: int = Field(500, ge=1, description="lists of variants that are kept; beyond, the oldest are deleted")
    queue_length: int = Field(64, ge=1, description="effects that may wait for the model")
    access_log: str = Field(
        "", description="file, in the site unless absolute, with a line for each request; - for stderr; empty: none"
    )
    register_url: bool = Field(False, description="whether visitors may show files from addresses of their own")
    remote_hosts: list[str] = Field([], description="hosts such files may lie on: *.encodeproject.org; empty: any")
    remote_private: bool = Field(False, description="whether such files may lie inside private networks")
    remote_max_bytes: int = Field(50_000_000_000, ge=1, description="largest such file")
    remote_timeout: float = Field(20.0, gt=0, le=300, description="seconds to wait for a part of such a file")
    remote_most: int = Field(1000, ge=1, description="how many such files may be registered")
    encode_url: str = Field("https://www.encodeproject.org", description="the ENCODE portal, or a copy of it")
    serve_files: bool = Field(True, description="whether other genome browsers may read the bigWigs and bigBeds here")
    contact: str = Field("", description="e-mail address for questions about the tracks, which UCSC's hubs must name")
    frame_ancestors: str = Field("*", description="sites that may embed a view (CSP frame-ancestors)")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(file: Path, **flags: Any) -> Settings:
    """The settings of the site whose trackserver.toml this is; flags that are None say nothing."""
    _check_variables()

    class Here(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return Here(**{name: value for name, value in flags.items() if value is not None})
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{file} is not valid TOML: {error}.") from error
    except ValidationError as error:
        raise BadSetting(f"{file}: " + "; ".join(_sentence(item) for item in error.errors()) + ".") from error


def _sentence(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"there is no setting '{name}' (there are {listing(Settings.model_fields, most=40)})"
    return f"{name}: {item['msg']}"


def _check_variables() -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {SITE_VARIABLE}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise BadSetting(f"{unknown[0]} is no setting; known variables: {listing(sorted(known), most=40)}.")
