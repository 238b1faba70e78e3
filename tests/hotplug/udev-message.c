/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The wire format of udevd's messages: a header with hashes by which the kernel filters, then the
 * properties. Group 2 of NETLINK_KOBJECT_UEVENT is udevd's. */

#include "tests/hotplug/udev-message.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UDEV_GROUP 2
#define MAGIC 0xfeedcafe

typedef struct Header {
    char prefix[8];
    guint32 magic;
    guint32 header_size;
    guint32 properties_offset;
    guint32 properties_length;
    guint32 subsystem_hash;
    guint32 devtype_hash;
    guint32 tag_bloom_high;
    guint32 tag_bloom_low;
} Header;

static bool loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = any >= 0 && ioctl(any, SIOCSIFFLAGS, &request) == 0;
    if (any >= 0)
        close(any);
    return done;
}

static bool write_map(pid_t process, const char *name)
{
    static const char map[] = "0 0 65536";
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)process, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool done = file >= 0 && write(file, map, sizeof map - 1) == (ssize_t)(sizeof map - 1);
    if (file >= 0)
        close(file);
    return done;
}

/* A user namespace with all of our users, whose table only a process outside may write. */
static bool enter_user_namespace(void)
{
    int gone[2];
    char byte = 0;
    if (pipe2(gone, O_CLOEXEC) != 0)
        return false;
    pid_t self = getpid();
    pid_t outside = fork();
    if (outside == 0) {
        close(gone[1]);
        bool told = read(gone[0], &byte, 1) == 1;
        _exit(told && write_map(self, "uid_map") && write_map(self, "gid_map") ? 0 : 1);
    }
    int status = -1;
    bool entered = outside > 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) == 0 &&
                   write(gone[1], &byte, 1) == 1;
    close(gone[1]);
    close(gone[0]);
    return outside > 0 && waitpid(outside, &status, 0) == outside && entered && status == 0;
}

/* Root of a container mostly may not shape networks, except in a user namespace of its own. */
static bool enter_namespaces(void)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 && loopback_up())
        return true;
    return geteuid() == 0 && enter_user_namespace() && loopback_up();
}

bool udev_message_enter(void)
{
    if (!enter_namespaces() || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("run", "/run", "tmpfs", 0, NULL) != 0)
        return false;
    /* A key that is really plugged in is nobody's business here. */
    (void)mount("usb", "/sys/bus/usb", "tmpfs", 0, NULL);
    g_assert_cmpint(mkdir("/run/udev", 0755), ==, 0);
    int control = open("/run/udev/control", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    g_assert_cmpint(control, >=, 0);
    close(control);
    return true;
}

/* MurmurHash2 with seed 0. */
static guint32 hash(const char *text)
{
    const guint32 factor = 0x5bd1e995;
    gsize length = strlen(text);
    guint32 value = (guint32)length;
    for (; length >= 4; length -= 4, text += 4) {
        guint32 word = 0;
        memcpy(&word, text, sizeof word);
        word *= factor;
        word ^= word >> 24;
        value = value * factor ^ word * factor;
    }
    if (length >= 3)
        value ^= (guint32)(guint8)text[2] << 16;
    if (length >= 2)
        value ^= (guint32)(guint8)text[1] << 8;
    if (length >= 1)
        value = (value ^ (guint8)text[0]) * factor;
    value ^= value >> 13;
    value *= factor;
    return value ^ value >> 15;
}

static guint64 bloom(const char *tag)
{
    guint32 value = hash(tag);
    guint64 bits = 0;
    for (guint i = 0; i < 4; i++)
        bits |= (guint64)1 << (value >> (6 * i) & 63);
    return bits;
}

int udev_message_open(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    int sender = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    g_assert_cmpint(sender, >=, 0);
    g_assert_cmpint(bind(sender, (struct sockaddr *)&address, sizeof address), ==, 0);
    return sender;
}

static void add(GByteArray *to, const char *name, const char *value)
{
    g_autofree char *property = g_strconcat(name, "=", value, NULL);
    g_byte_array_append(to, (const guint8 *)property, (guint)strlen(property) + 1);
}

static void add_properties(GByteArray *to, const char *action, const char *devpath, const char *tag,
                           const char *const *properties)
{
    add(to, "ACTION", action);
    add(to, "DEVPATH", devpath);
    add(to, "SUBSYSTEM", "usb");
    add(to, "DEVTYPE", "usb_device");
    add(to, "SEQNUM", "4711");
    for (; properties && *properties; properties++)
        g_byte_array_append(to, (const guint8 *)*properties, (guint)strlen(*properties) + 1);
    if (tag) {
        g_autofree char *tags = g_strconcat(":", tag, ":", NULL);
        add(to, "TAGS", tags);
        add(to, "CURRENT_TAGS", tags);
    }
}

void udev_message_send(int sender, const char *action, const char *devpath, const char *tag,
                       const char *const *properties)
{
    struct sockaddr_nl udev = {.nl_family = AF_NETLINK, .nl_groups = UDEV_GROUP};
    guint64 tag_bits = tag ? bloom(tag) : 0;
    Header header = {
        .prefix = "libudev",
        .magic = htonl(MAGIC),
        .header_size = sizeof header,
        .properties_offset = sizeof header,
        .subsystem_hash = htonl(hash("usb")),
        .devtype_hash = htonl(hash("usb_device")),
        .tag_bloom_high = htonl((guint32)(tag_bits >> 32)),
        .tag_bloom_low = htonl((guint32)tag_bits),
    };
    g_autoptr(GByteArray) message = g_byte_array_new();
    g_byte_array_append(message, (const guint8 *)&header, sizeof header);
    add_properties(message, action, devpath, tag, properties);
    ((Header *)(void *)message->data)->properties_length = message->len - (guint32)sizeof header;
    ssize_t sent = sendto(sender, message->data, message->len, 0, (struct sockaddr *)&udev, sizeof udev);
    /* Nobody listens, or somebody's buffer is full: udevd does not care, either. */
    if (sent < 0 && errno != ECONNREFUSED && errno != ENOBUFS)
        g_error("a message of udev's can't be sent: %s", g_strerror(errno));
}
