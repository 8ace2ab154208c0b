"""A site's settings: trackserver.toml, overridden by TRACKSERVER_* variables, overridden by command-line flags.

`Settings` is the single list of names, defaults and help texts, which the command line, the docs and validation use.
An unknown name is an error, wherever it is given.
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
    """A site's files for one assembly; relative paths start from the site's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chromsizes: Path | None = Field(
        None,
        description="chromsizes file; default: the FASTA's chromosomes, or the usual ones of a well-known assembly",
    )
    fasta: Path | None = Field(None, description="FASTA, plain or bgzip; needed for predictions")
    genes: Path | None = Field(None, description="gene models: UCSC's refGene table, GTF or GFF3, plain or gzip")
    repeats: Path | None = Field(
        None, description="BED of repeats, for warnings; default: the lower-case bases of the FASTA"
    )
    blacklist: Path | None = Field(None, description="BED of regions with unreliable signal, for warnings")
    chains: dict[str, Path] = Field({}, description="chain files to this assembly, by the assembly they come from")


class Example(BaseModel):
    """An example variant that the page offers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(description="the variant, as a user would type it")
    label: str = Field(description="a short description of what it shows")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    title: str = Field("trackserver", description="the site's name, shown in the page and in shared links")
    notice: str = Field("", description="one line that the page always shows, such as where the data come from")
    assembly: str = Field("", description="the assembly that the page opens with")
    assemblies: dict[str, AssemblyFiles] = Field({}, description="the files of each assembly")
    model: str = Field("", description="the model that the page opens with; default: the first installed one")
    locus: str = Field("", description="the locus that the page opens at, such as chr1:47,680,001-47,700,000")
    rows: list[list[str]] = Field([], description="rows that the page opens with, each one or two tileset uids")
    examples: list[Example] = Field([], description="example variants that the page offers")
    show: str = Field("", description="a variant whose effect the page shows when it opens")
    database: str = Field("", description="SQLAlchemy URL of the catalogue; empty: SQLite inside the site")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 lets other machines in")
    port: int = Field(8989, ge=1, le=65535, description="port to listen on")
    cache_mb: int = Field(512, ge=16, description="memory for tiles and decoded file blocks, in MB per worker")
    workers: int = Field(1, ge=1, le=64, description="server processes; each has its own cache and models")
    threads: int = Field(16, ge=1, le=256, description="requests that each process answers at the same time")
    models_in_memory: int = Field(
        4, ge=1, le=64, description="models that a process keeps loaded; the largest take 4 GB each"
    )
    reference_cache_mb: int = Field(
        512, ge=64, description="memory for the models' results on reference windows, in MB"
    )
    impact_weights: dict[str, float] = Field({}, description="weight of each assay's tracks in impact; default: 1")
    device: str = Field("auto", description="device that models run on: auto, cpu, cuda:0")
    cluster: str = Field(
        "",
        description="Ray cluster that computes effects: ray://host:10001, auto, local; empty: the server computes",
    )
    cluster_replicas: int = Field(1, ge=1, le=1000, description="model replicas on the cluster, each with one GPU")
    max_tile_ids: int = Field(1000, ge=15, description="maximum number of tiles per request")
    max_request_bytes: int = Field(4_000_000, ge=10_000, description="maximum size of a request body, in bytes")
    max_lists: int = Field(
        500, ge=1, description="maximum number of stored variant lists; the oldest are deleted first"
    )
    queue_length: int = Field(64, ge=1, description="maximum number of requests that wait for a model")
    access_log: str = Field(
        "", description="log file with one line per request, relative to the site; - for stderr; empty: no log"
    )
    register_url: bool = Field(False, description="whether visitors may add files by URL")
    remote_hosts: list[str] = Field(
        [], description="hosts that visitors' files may be on, such as *.encodeproject.org; empty: any host"
    )
    remote_private: bool = Field(False, description="whether visitors' files may be inside private networks")
    remote_max_bytes: int = Field(50_000_000_000, ge=1, description="maximum size of a visitor's file, in bytes")
    remote_timeout: float = Field(20.0, gt=0, le=300, description="seconds to wait for one part of a visitor's file")
    remote_max_files: int = Field(1000, ge=1, description="maximum number of files that visitors may add")
    encode_url: str = Field("https://www.encodeproject.org", description="the ENCODE portal, or a copy of it")
    serve_files: bool = Field(
        True, description="whether other genome browsers may read the site's bigWig and bigBed files"
    )
    contact: str = Field("", description="e-mail address for questions about the tracks; UCSC requires one in a hub")
    frame_ancestors: str = Field("*", description="websites that may embed a view (CSP frame-ancestors)")

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


def load(file: str | os.PathLike[str], **flags: Any) -> Settings:
    """Load a site's settings from its trackserver.toml; flags that are None are ignored."""
    _check_variables()

    class SiteSettings(Settings):
        model_config = SettingsConfigDict(toml_file=Path(file))

    try:
        return SiteSettings(**{name: value for name, value in flags.items() if value is not None})
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{file} is not valid TOML: {error}.") from error
    except ValidationError as error:
        raise BadSetting(f"{file}: " + "; ".join(_sentence(item) for item in error.errors()) + ".") from error


def _sentence(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"there is no setting '{name}'; known settings: {listing(Settings.model_fields, limit=40)}"
    return f"{name}: {item['msg']}"


def _check_variables() -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {SITE_VARIABLE}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise BadSetting(f"{unknown[0]} is not a setting; known variables: {listing(sorted(known), limit=40)}.")
