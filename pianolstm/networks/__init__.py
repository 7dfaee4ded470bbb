"""The networks: the article's, ours, and two to compare with. One interface, one registry."""

from pianolstm.networks.article import ArticleLSTM
from pianolstm.networks.base import (
    NETWORKS,
    NetworkConfig,
    RecurrentNetwork,
    State,
    build_network,
    check_interface,
    network_config,
    pick_device,
    register,
)
from pianolstm.networks.note import NoteLSTM
from pianolstm.networks.others import NoteGRU, NoteTransformer

__all__ = [
    "NETWORKS",
    "ArticleLSTM",
    "NetworkConfig",
    "NoteGRU",
    "NoteLSTM",
    "NoteTransformer",
    "RecurrentNetwork",
    "State",
    "build_network",
    "check_interface",
    "network_config",
    "pick_device",
    "register",
]
