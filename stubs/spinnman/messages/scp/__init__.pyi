class SCPRequestHeader:
    sequence: int
