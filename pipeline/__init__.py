"""motet without Ray: the pipeline file, event time, features, fusion and the way to Kafka.

Everything that is true without a cluster lives here; ``actors`` adds Ray and nothing else.
"""

__version__ = "0.1.0"
