"""What it costs to run something: parameters, operations, bytes, time and memory, all measured."""
