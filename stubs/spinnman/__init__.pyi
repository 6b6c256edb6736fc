# What spalloc_server/_transceiver.py uses of SpiNNMan 1!7.0.0.
