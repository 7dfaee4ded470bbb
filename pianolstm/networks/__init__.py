"""The networks: the article's, ours, and two to compare with. One interface, one registry."""

# ruff: noqa: F401 (all that is imported here is offered)

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
from pianolstm.networks.keys import InSeveralKeys
from pianolstm.networks.note import NoteGRU, NoteLSTM, NoteTransformer
