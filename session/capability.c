#include "session/event.h"

int32_t capability_value(const struct capabilities *caps, enum capability key)
{
    switch (key) {
    case CAP_BATTERY:
        return caps->battery;
    case CAP_CHARGING:
        return caps->charging;
    case CAP_KIND:
        return caps->kind;
    case CAP_NETWORK:
        return caps->network;
    case CAP_RTT_MS:
        return (int32_t)caps->rtt_ms;
    case CAP_VISIBLE:
        return caps->visible;
    case CAP_CORES:
        return caps->cores;
    case CAP_MEMORY_MB:
        return (int32_t)caps->memory_mb;
    case CAP_PRIORITY:
        return caps->priority;
    case CAP_END:
        break;
    }
    return 0;
}
