"""The module SampleData as far as other modules use it: they register their samples, nothing is downloaded.

Checked against Modules/Scripted/SampleData/SampleData.py, SampleDataLogic: registerCustomSampleDataSource (its
parameters, slicer.modules.sampleDataSources) and registerCustomSampleDataCategory (Slicer 5.12 and later).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import slicer


def _registered(name: str) -> dict[str, Any]:
    if not hasattr(slicer.modules, name):
        setattr(slicer.modules, name, {})
    return getattr(slicer.modules, name)  # type: ignore[no-any-return]


class SampleDataLogic:
    """The registration functions."""

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str | None = None) -> None:
        """Give a category a title that can be translated."""
        _registered("sampleDataSourceCategories")[category] = {"title": title or category}

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        """Keep one sample; the same sample twice is kept once."""
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
        if uris is None:  # SampleDataSource takes its length
            raise TypeError("object of type 'NoneType' has no len()")
        source = SimpleNamespace(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes if loadFileTypes is not None else loadFileType,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties or {},
            checksums=checksums,
        )
        sources = _registered("sampleDataSources").setdefault(category, [])
        if source not in sources:
            sources.append(source)
