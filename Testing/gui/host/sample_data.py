"""Slicer's module SampleData for samples of one file; only files of this computer are fetched."""

import hashlib
import types
import urllib.parse
import urllib.request
from pathlib import Path

import slicer


class SampleDataSource:
    def __init__(
        self, sampleName, uris, fileNames, nodeNames, checksums, thumbnailFileName, loadFileTypes
    ):
        if not isinstance(uris, str):
            raise TypeError(f"uris is {uris!r}; the application counts it, so it has to be there")
        self.sampleName, self.thumbnailFileName = sampleName, thumbnailFileName
        self.uris, self.fileNames, self.nodeNames = [uris], [fileNames], [nodeNames]
        self.checksums, self.loadFileTypes = [checksums], [loadFileTypes]


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        slicer.modules.sampleDataSourceCategories[category] = {"title": title}

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        thumbnailFileName=None,
        checksums=None,
        loadFileTypes=None,
    ):
        source = SampleDataSource(
            sampleName, uris, fileNames, nodeNames, checksums, thumbnailFileName, loadFileTypes
        )
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if vars(source) not in map(vars, sources):
            sources.append(source)

    def sourceForSampleName(self, sampleName):
        every = (each for group in slicer.modules.sampleDataSources.values() for each in group)
        return next((each for each in every if each.sampleName == sampleName), None)

    def downloadSample(self, sampleName):
        """Load a sample; returns its first node."""
        source = self.sourceForSampleName(sampleName)
        address = urllib.parse.urlparse(source.uris[0])
        if address.scheme != "file":
            raise AssertionError(f"{source.uris[0]} would be fetched from the internet")
        path = Path(urllib.request.url2pathname(address.path))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if source.checksums[0] not in (None, f"SHA256:{found}"):
            raise ValueError(f"{path}: its checksum is SHA256:{found}")
        return slicer.util.loadNodeFromFile(
            str(path), source.loadFileTypes[0], {"name": source.nodeNames[0]}
        )


def build() -> types.ModuleType:
    slicer.modules.sampleDataSources = {}
    slicer.modules.sampleDataSourceCategories = {}
    module = types.ModuleType("SampleData")
    module.SampleDataLogic, module.SampleDataSource = SampleDataLogic, SampleDataSource
    return module
