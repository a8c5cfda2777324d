/*
 * Answers as libnvidia-ml.so.1, from a text file.
 *
 * FAKE_NVML_STATE names the file; it is read again whenever it has changed, so a test can
 * break a GPU while the library is in use. One statement a line, later ones win:
 *
 *   driver 580.65.06              the driver's version
 *   init 9                        nvmlInit answers with this error
 *   gone 1                        every call answers UNINITIALIZED until the next init
 *   error FUNCTION GPU CODE       the function answers with the error; GPU -1 is any
 *   slow FUNCTION MILLISECONDS    the function takes its time
 *   gpu N KEY VALUE               a fact of GPU N (see struct gpu)
 *   process N compute|graphics|mps PID BYTES
 *   xid N NUMBER                  an event for every statement, once
 *   link A B COUNT                direct NVLinks; B -1 is a switch
 *   near A B LEVEL                the common ancestor (10 single ... 50 system)
 *
 * Functions named in WITHOUT_... macros are left out of the library, as in an old driver.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <pthread.h>

#define GPUS 16
#define PROCESSES 64
#define RULES 64
#define EVENTS 64

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7,
       TIMEOUT = 10, LOST = 15 };

typedef unsigned long long u64;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_info;
typedef struct { unsigned version; u64 total, reserved, free, used; } memory_v2;
typedef struct { unsigned pid; u64 memory; unsigned gpu_instance, compute_instance; } process_info;
typedef struct { void *device; u64 type, data; unsigned gpu_instance, compute_instance; } event_data;
typedef struct { unsigned field, scope; long long time, latency; unsigned type, result;
                 union { double d; unsigned u; u64 ull; } value; } field_value;

struct gpu {
    int present, lost, minor, index;
    char uuid[96], name[96], bus_id[32];
    u64 total, used, reserved, ecc;
    unsigned utilization, temperature, power_mw, limit_mw, mig, pending, failed, retired, recovery;
};
struct process { int gpu, kind; unsigned pid; u64 bytes; };
struct rule { char function[64]; int gpu, code, slow_ms; };
struct event { int gpu; unsigned number; };

static struct {
    char driver[80];
    int init_error, gone;
    struct gpu gpus[GPUS];
    struct process processes[PROCESSES]; int process_count;
    struct rule rules[RULES]; int rule_count;
    struct event events[EVENTS]; int event_count;
    int links[GPUS][GPUS + 1], near_level[GPUS][GPUS];
} state;
static int initialized, events_told;
static struct timespec seen;
static off_t seen_size;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void set_fact(struct gpu *g, const char *key, const char *value) {
    u64 number = strtoull(value, NULL, 10);
    if (!strcmp(key, "uuid")) snprintf(g->uuid, sizeof g->uuid, "%.95s", value);
    else if (!strcmp(key, "name")) snprintf(g->name, sizeof g->name, "%.95s", value);
    else if (!strcmp(key, "bus")) snprintf(g->bus_id, sizeof g->bus_id, "%.31s", value);
    else if (!strcmp(key, "present")) g->present = (int)number;
    else if (!strcmp(key, "lost")) g->lost = (int)number;
    else if (!strcmp(key, "minor")) g->minor = (int)number;
    else if (!strcmp(key, "total")) g->total = number;
    else if (!strcmp(key, "used")) g->used = number;
    else if (!strcmp(key, "reserved")) g->reserved = number;
    else if (!strcmp(key, "utilization")) g->utilization = (unsigned)number;
    else if (!strcmp(key, "temperature")) g->temperature = (unsigned)number;
    else if (!strcmp(key, "power")) g->power_mw = (unsigned)number;
    else if (!strcmp(key, "limit")) g->limit_mw = (unsigned)number;
    else if (!strcmp(key, "mig")) g->mig = (unsigned)number;
    else if (!strcmp(key, "ecc")) g->ecc = number;
    else if (!strcmp(key, "pending")) g->pending = (unsigned)number;
    else if (!strcmp(key, "failed")) g->failed = (unsigned)number;
    else if (!strcmp(key, "retired")) g->retired = (unsigned)number;
    else if (!strcmp(key, "recovery")) g->recovery = (unsigned)number;
    else { fprintf(stderr, "fake nvml: no fact named %s\n", key); abort(); }
}

static void load(void) {
    const char *path = getenv("FAKE_NVML_STATE");
    struct stat st;
    if (!path || stat(path, &st)) return;
    if (st.st_mtim.tv_sec == seen.tv_sec && st.st_mtim.tv_nsec == seen.tv_nsec && st.st_size == seen_size)
        return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    seen = st.st_mtim;
    seen_size = st.st_size;
    memset(&state, 0, sizeof state);
    char line[512], word[64], text[256];
    int a, b, c;
    unsigned number;
    u64 bytes;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!line[0]) continue;
        if (sscanf(line, "driver %79s", state.driver) == 1) continue;
        if (sscanf(line, "init %d", &state.init_error) == 1) continue;
        if (sscanf(line, "gone %d", &state.gone) == 1) continue;
        if (sscanf(line, "gpu %d %63s %255[^\n]", &a, word, text) == 3) {
            set_fact(&state.gpus[a], word, text);
            continue;
        }
        if (sscanf(line, "process %d %63s %u %llu", &a, word, &number, &bytes) == 4) {
            struct process *p = &state.processes[state.process_count++];
            p->gpu = a; p->pid = number; p->bytes = bytes;
            p->kind = word[0];
            continue;
        }
        if (sscanf(line, "error %63s %d %d", word, &a, &b) == 3) {
            struct rule *r = &state.rules[state.rule_count++];
            snprintf(r->function, sizeof r->function, "%s", word);
            r->gpu = a; r->code = b;
            continue;
        }
        if (sscanf(line, "slow %63s %d", word, &a) == 2) {
            struct rule *r = &state.rules[state.rule_count++];
            snprintf(r->function, sizeof r->function, "%s", word);
            r->gpu = -1; r->slow_ms = a;
            continue;
        }
        if (sscanf(line, "xid %d %u", &a, &number) == 2) {
            state.events[state.event_count].gpu = a;
            state.events[state.event_count++].number = number;
            continue;
        }
        if (sscanf(line, "link %d %d %d", &a, &b, &c) == 3) {
            state.links[a][b < 0 ? GPUS : b] = c;
            continue;
        }
        if (sscanf(line, "near %d %d %d", &a, &b, &c) == 3) {
            state.near_level[a][b] = state.near_level[b][a] = c;
            continue;
        }
        fprintf(stderr, "fake nvml: not understood: %s\n", line);
        abort();
    }
    fclose(file);
    for (int i = 0, index = 0; i < GPUS; i++)
        if (state.gpus[i].present) state.gpus[i].index = index++;
    if (events_told > state.event_count) events_told = 0;
}

static void pause_ms(int ms) {
    struct timespec t = { ms / 1000, (ms % 1000) * 1000000L };
    nanosleep(&t, NULL);
}

/* Whether a call goes through; 0 or the error. A device is the address of its struct gpu. */
static int pass(const char *function, struct gpu *g) {
    int slow = 0, code = OK;
    pthread_mutex_lock(&lock);
    load();
    if (state.gone) initialized = 0;
    int number = g ? (int)(g - state.gpus) : -1;
    for (int i = 0; i < state.rule_count; i++) {
        struct rule *r = &state.rules[i];
        if (strcmp(r->function, function) && strcmp(r->function, "all")) continue;
        if (r->slow_ms) slow = r->slow_ms;
        else if (r->gpu < 0 || r->gpu == number) code = r->code;
    }
    pthread_mutex_unlock(&lock);
    if (slow) pause_ms(slow);
    if (!initialized) return UNINITIALIZED;
    if (g && (g < state.gpus || g >= state.gpus + GPUS || !g->present)) return INVALID;
    if (g && g->lost) return LOST;
    return code;
}
#define PASS(g) do { if (!(g)) return INVALID;  int code_ = pass(__func__, (struct gpu *)(g)); if (code_) return code_; } while (0)

#define PASS_SYSTEM() do { int code_ = pass(__func__, NULL); if (code_) return code_; } while (0)

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    load();
    int code = state.gone ? 9 : state.init_error;
    if (!code) initialized = 1;
    pthread_mutex_unlock(&lock);
    return code;
}
int nvmlShutdown(void) { if (!initialized) return UNINITIALIZED; initialized = 0; return OK; }
const char *nvmlErrorString(int code) { (void)code; return "fake error"; }

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    PASS_SYSTEM();
    snprintf(out, size, "%s", state.driver[0] ? state.driver : "580.65.06");
    return OK;
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    PASS_SYSTEM();
    *count = 0;
    for (int i = 0; i < GPUS; i++) *count += (unsigned)state.gpus[i].present;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    PASS_SYSTEM();
    for (int i = 0; i < GPUS; i++) {
        struct gpu *g = &state.gpus[i];
        if (g->present && g->index == (int)index) {
            *device = g;
            return g->lost ? LOST : OK;
        }
    }
    return INVALID;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device) {
    PASS_SYSTEM();
    for (int i = 0; i < GPUS; i++) {
        struct gpu *g = &state.gpus[i];
        if (g->present && !strcmp(g->bus_id, bus_id)) {
            *device = g;
            return g->lost ? LOST : OK;
        }
    }
    return NOT_FOUND;
}
int nvmlDeviceGetUUID(struct gpu *g, char *out, unsigned size) { PASS(g); snprintf(out, size, "%s", g->uuid); return OK; }
int nvmlDeviceGetName(struct gpu *g, char *out, unsigned size) { PASS(g); snprintf(out, size, "%s", g->name); return OK; }
int nvmlDeviceGetMinorNumber(struct gpu *g, unsigned *minor) { PASS(g); *minor = (unsigned)g->minor; return OK; }
int nvmlDeviceGetPciInfo_v3(struct gpu *g, pci_info *info) {
    PASS(g);
    memset(info, 0, sizeof *info);
    snprintf(info->bus_id, sizeof info->bus_id, "%s", g->bus_id);
    return OK;
}
int nvmlDeviceGetMemoryInfo(struct gpu *g, u64 *memory) {
    PASS(g);
    memory[0] = g->total;
    memory[2] = g->used + g->reserved;
    memory[1] = memory[0] - memory[2];
    return OK;
}
#ifndef WITHOUT_MEMORY_V2
int nvmlDeviceGetMemoryInfo_v2(struct gpu *g, memory_v2 *memory) {
    PASS(g);
    memory->total = g->total;
    memory->reserved = g->reserved;
    memory->used = g->used;
    memory->free = g->total - g->used - g->reserved;
    return OK;
}
#endif
int nvmlDeviceGetUtilizationRates(struct gpu *g, unsigned *rates) {
    PASS(g);
    if (g->mig) return NOT_SUPPORTED;
    rates[0] = g->utilization;
    rates[1] = 0;
    return OK;
}
int nvmlDeviceGetTemperature(struct gpu *g, unsigned sensor, unsigned *value) { PASS(g); (void)sensor; *value = g->temperature; return OK; }
int nvmlDeviceGetPowerUsage(struct gpu *g, unsigned *value) { PASS(g); *value = g->power_mw; return OK; }
int nvmlDeviceGetEnforcedPowerLimit(struct gpu *g, unsigned *value) { PASS(g); *value = g->limit_mw; return OK; }
int nvmlDeviceGetMigMode(struct gpu *g, unsigned *current, unsigned *pending) { PASS(g); *current = *pending = g->mig; return OK; }
int nvmlDeviceGetTotalEccErrors(struct gpu *g, unsigned kind, unsigned counter, u64 *count) {
    PASS(g);
    *count = kind == 1 && counter == 0 ? g->ecc : 0;
    return OK;
}
int nvmlDeviceGetRemappedRows(struct gpu *g, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    PASS(g);
    *corrected = *uncorrected = 0;
    *pending = g->pending;
    *failed = g->failed;
    return OK;
}
int nvmlDeviceGetRetiredPagesPendingStatus(struct gpu *g, unsigned *pending) { PASS(g); *pending = g->retired; return OK; }
int nvmlDeviceGetFieldValues(struct gpu *g, int count, field_value *values) {
    PASS(g);
    for (int i = 0; i < count; i++) {
        values[i].result = values[i].field == 230 ? OK : NOT_SUPPORTED;
        values[i].value.u = g->recovery;
    }
    return OK;
}

static int list(struct gpu *g, int kind, unsigned *count, process_info *out) {
    unsigned found = 0;
    int number = (int)(g - state.gpus);
    for (int i = 0; i < state.process_count; i++)
        found += state.processes[i].gpu == number && state.processes[i].kind == kind;
    unsigned room = *count;
    *count = found;
    if (!found) return OK;
    if (room < found || !out) return TOO_SMALL;
    found = 0;
    for (int i = 0; i < state.process_count; i++) {
        struct process *p = &state.processes[i];
        if (p->gpu != number || p->kind != kind) continue;
        out[found].pid = p->pid;
        out[found].memory = p->bytes;
        out[found].gpu_instance = out[found].compute_instance = ~0u;
        found++;
    }
    return OK;
}
#ifndef WITHOUT_PROCESSES_V3
int nvmlDeviceGetComputeRunningProcesses_v3(struct gpu *g, unsigned *count, process_info *out) { PASS(g); return list(g, 'c', count, out); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(struct gpu *g, unsigned *count, process_info *out) { PASS(g); return list(g, 'g', count, out); }
int nvmlDeviceGetMPSComputeRunningProcesses_v3(struct gpu *g, unsigned *count, process_info *out) { PASS(g); return list(g, 'm', count, out); }
#endif
int nvmlDeviceGetComputeRunningProcesses_v2(struct gpu *g, unsigned *count, process_info *out) { PASS(g); return list(g, 'c', count, out); }
int nvmlDeviceGetGraphicsRunningProcesses_v2(struct gpu *g, unsigned *count, process_info *out) { PASS(g); return list(g, 'g', count, out); }

int nvmlDeviceGetTopologyCommonAncestor(struct gpu *a, struct gpu *b, unsigned *level) {
    PASS(a);
    int found = state.near_level[a - state.gpus][b - state.gpus];
    *level = found ? (unsigned)found : 50;
    return OK;
}

/* Links are numbered: first those to a switch, then those to GPU 0, 1, and so on. */
static int link_end(struct gpu *g, unsigned link) {
    int *ends = state.links[g - state.gpus];
    int left = (int)link - ends[GPUS];
    if (left < 0) return GPUS;
    for (int other = 0; other < GPUS; other++)
        if ((left -= ends[other]) < 0) return other;
    return -1;
}
int nvmlDeviceGetNvLinkState(struct gpu *g, unsigned link, unsigned *active) {
    PASS(g);
    if (link_end(g, link) < 0) return INVALID;
    *active = 1;
    return OK;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(struct gpu *g, unsigned link, unsigned *type) {
    PASS(g);
    *type = link_end(g, link) == GPUS ? 2 : 0;
    return OK;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct gpu *g, unsigned link, pci_info *info) {
    PASS(g);
    int other = link_end(g, link);
    if (other < 0 || other == GPUS) return INVALID;
    memset(info, 0, sizeof *info);
    snprintf(info->bus_id, sizeof info->bus_id, "%s", state.gpus[other].bus_id);
    return OK;
}

int nvmlEventSetCreate(void **set) { PASS_SYSTEM(); *set = &events_told; return OK; }
int nvmlEventSetFree(void *set) { PASS_SYSTEM(); (void)set; return OK; }
int nvmlDeviceRegisterEvents(struct gpu *g, u64 types, void *set) { PASS(g); (void)types; (void)set; return OK; }
int nvmlEventSetWait_v2(void *set, event_data *data, unsigned timeout_ms) {
    (void)set;
    for (unsigned waited = 0; waited <= timeout_ms; waited += 10) {
        PASS_SYSTEM();
        if (events_told < state.event_count) {
            struct event *e = &state.events[events_told++];
            memset(data, 0, sizeof *data);
            data->device = &state.gpus[e->gpu];
            data->type = 8;
            data->data = e->number;
            return OK;
        }
        pause_ms(10);
    }
    return TIMEOUT;
}
