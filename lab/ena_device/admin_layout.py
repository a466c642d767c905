"""Define the layouts of the admin queue's commands and completions.

Source: ena_admin_defs.h of the driver; a comment names the structure that each layout follows. Commands and completions
are 64 bytes each, addresses are 48 bits: 32 low, 16 high (struct ena_common_mem_addr, ena_common_defs.h).
"""

import struct
from enum import IntEnum

ENTRY_SIZE = 64
COMMAND_ID_MASK = 0xFFF
COMMAND = struct.Struct("<HBB")  # ena_admin_aq_common_desc: command id, opcode, flags
COMPLETION = struct.Struct("<HBBHH")  # ena_admin_acq_common_desc: command, status, flags, extended status, sq head
COMPLETION_FLAGS_AT, COMPLETION_TAIL_AT, COMPLETION_DATA_AT = 3, 4, 8


class Opcode(IntEnum):  # enum ena_admin_aq_opcode
    CREATE_SQ = 1
    DESTROY_SQ = 2
    CREATE_CQ = 3
    DESTROY_CQ = 4
    GET_FEATURE = 8
    SET_FEATURE = 9
    GET_STATS = 11


class Status(IntEnum):  # enum ena_admin_aq_completion_status
    SUCCESS = 0
    RESOURCE_ALLOCATION_FAILURE = 1
    BAD_OPCODE = 2
    UNSUPPORTED_OPCODE = 3
    MALFORMED_REQUEST = 4
    ILLEGAL_PARAMETER = 5


class Feature(IntEnum):  # enum ena_admin_aq_feature_id, those the device has
    DEVICE_ATTRIBUTES = 1
    MAX_QUEUES_EXT = 7
    STATELESS_OFFLOAD_CONFIG = 11
    RSS_INDIRECTION_TABLE_CONFIG = 12
    MTU = 14
    AENQ_CONFIG = 26
    LINK_CONFIG = 27
    HOST_ATTR_CONFIG = 28
    PHC_CONFIG = 29


class EventGroup(IntEnum):  # enum ena_admin_aenq_group, those the device sends
    LINK_CHANGE = 0
    KEEP_ALIVE = 4
    DEVICE_REQUEST_RESET = 7


FEATURE_ID_AT, FEATURE_VERSION_AT = 17, 18  # ena_admin_get_set_feature_common_desc, in get and set commands
SET_VALUES_AT = 20  # ena_admin_set_feat_cmd.u

CREATE_CQ_AT = 4
CREATE_CQ = struct.Struct("<BBHIIHH")  # ena_admin_aq_create_cq_cmd: caps 1, caps 2, depth, vector, address low, high, -
CREATED_CQ = struct.Struct("<HHIII")  # ..._resp: index, depth, numa register, head doorbell, unmask register
CREATE_SQ_AT = 4
CREATE_SQ = struct.Struct("<BBBBHHIHH")  # ena_admin_aq_create_sq_cmd: identity, -, caps 2, caps 3, cq, depth, lo, hi, -
CREATED_SQ = struct.Struct("<HHIII")  # ..._resp: index, -, doorbell register, llq descriptors, llq headers
DESTROY_AT = 4
DESTROY = struct.Struct("<H")  # ena_admin_aq_destroy_{sq,cq}_cmd
CQ_ENTRY_WORDS_MASK, SQ_DIRECTION_SHIFT, SQ_DIRECTION_TX, SQ_DIRECTION_RX = 0x1F, 5, 1, 2
SQ_PLACEMENT_MASK, SQ_PLACEMENT_HOST = 0xF, 1
STATS_TYPE_AT, STATS_BASIC = 16, 0  # ena_admin_aq_get_stats_cmd, ENA_ADMIN_GET_STATS_TYPE_BASIC
BASIC_STATS = struct.Struct("<QQQQQQQ")  # ena_admin_basic_stats: tx bytes, packets, rx ones, rx and tx drops, overruns

DEVICE_ATTRIBUTES = struct.Struct("<IIIIII6sHI")  # ena_admin_device_attr_feature_desc
MAX_QUEUES_EXT = struct.Struct("<BxxxIIIIIIIIIHH")  # ena_admin_queue_ext_feature_desc
OFFLOADS = struct.Struct("<III")  # ena_admin_feature_offload_desc: tx, rx supported, rx enabled
RSS_TABLE = struct.Struct("<HHHBBIHH")  # ena_admin_feature_rss_ind_table
LINK = struct.Struct("<III")  # ena_admin_get_feature_link_desc: speed in Mbit/s, supported, flags
LINK_25G, LINK_FULL_DUPLEX = 0x10, 0x2
AENQ = struct.Struct("<II")  # ena_admin_feature_aenq_desc: supported groups, enabled groups
MTU = struct.Struct("<I")  # ena_admin_set_feature_mtu_desc
HOST_ATTRIBUTES = struct.Struct("<IH")  # ena_admin_set_feature_host_attr_desc: address of the host information
PHC_GET = struct.Struct("<BxxxIII")  # ena_admin_feature_phc_desc: version, doorbell offset, expire us, block us
PHC_SET_AT = SET_VALUES_AT + PHC_GET.size
PHC_SET = struct.Struct("<IHHI")  # its output address and length

HOST_INFO_SIZE = 4096
# ena_admin_host_info: os type, distribution, its number, kernel, its number, driver version, network features (2),
# specification version, bus-device-function, processors, -, driver features
HOST_INFO = struct.Struct("<I128sI32sIIIIHHHHI")
HOST_SUPPORTS_PHC = 1 << 8

EVENT_DESC = struct.Struct("<HHB3xII")  # ena_admin_aenq_common_desc: group, syndrome, flags, timestamp low, high
EVENT_FLAGS_AT, EVENT_AFTER_FLAGS_AT = 4, 5
LINK_CHANGE = struct.Struct("<I")  # ena_admin_aenq_link_change_desc.flags, bit 0: up
KEEP_ALIVE = struct.Struct("<QQQ")  # ena_admin_aenq_keep_alive_desc: rx drops, tx drops, rx overruns


def address(low: int, high: int) -> int:
    return low | high << 32
