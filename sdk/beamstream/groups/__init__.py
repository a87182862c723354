"""Consumer groups from outside: list them, their members and dead letters; set, seek and delete them."""

from .administration import Seek, change_group, delete_group, seek_group
from .dead_letters import DeadLetter, list_dead_letters, purge_dead_letters, reinject_dead_letters
from .listing import GroupInfo, MemberInfo, group_info, group_names, list_groups, list_members
from .members import MEMBER_TIMEOUT_S, NO_GROUP, PARKED, STALE_MEMBER_S
from .position import Target, parse_target
from .rates import GroupRates, group_rates
from .redelivery import Redelivery

__all__ = [
    "MEMBER_TIMEOUT_S",
    "NO_GROUP",
    "PARKED",
    "STALE_MEMBER_S",
    "DeadLetter",
    "GroupInfo",
    "GroupRates",
    "MemberInfo",
    "Redelivery",
    "Seek",
    "Target",
    "change_group",
    "delete_group",
    "group_info",
    "group_names",
    "group_rates",
    "list_dead_letters",
    "list_groups",
    "list_members",
    "parse_target",
    "purge_dead_letters",
    "reinject_dead_letters",
    "seek_group",
]
