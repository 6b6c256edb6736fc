from abc import ABCMeta as AbstractBase
from abc import abstractmethod as abstractmethod

__all__ = ("AbstractBase", "abstractmethod")
