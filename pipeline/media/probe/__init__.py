"""Records in, a guess at what they are out: with reasons, and how sure (``motet init``).

Pure: nothing here reads a topic or a clock. What is decided about a record in a run is decided
by ``pipeline.media.reading`` and by the file; this only helps to write that file.
"""

from pipeline.media.probe.guess import TopicGuess, probe_topic
from pipeline.media.probe.sample import Finding, Sure, TopicSample
from pipeline.media.probe.together import notes_on

__all__ = ["Finding", "Sure", "TopicGuess", "TopicSample", "notes_on", "probe_topic"]
