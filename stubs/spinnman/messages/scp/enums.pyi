from enum import Enum

class PowerCommand(Enum):
    POWER_OFF = 0
    POWER_ON = 1

class SCPResult(Enum):
    RC_OK = 0x80
    RC_LEN = 0x81
    RC_SUM = 0x82
    RC_CMD = 0x83
    RC_ARG = 0x84
    RC_PORT = 0x85
    RC_TIMEOUT = 0x86
    RC_ROUTE = 0x87
    RC_CPU = 0x88
    RC_DEAD = 0x89
    RC_BUF = 0x8A
    RC_P2P_NOREPLY = 0x8B
    RC_P2P_REJECT = 0x8C
    RC_P2P_BUSY = 0x8D
    RC_P2P_TIMEOUT = 0x8E
    RC_PKT_TX = 0x8F
