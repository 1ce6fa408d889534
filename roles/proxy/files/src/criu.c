/* Preloaded into CRIU inside a relocation: shortcuts, each with the reason it is safe here.
 *
 * clone3: the restored container's init gets the host pid that Docker was told (RELOCATE_PID): set_tid = {1} becomes {1, pid};
 *   clone3(2): the first element is the pid in the innermost namespace.
 * prlimit64: another user's limits may be asked with CAP_SYS_RESOURCE only, which a host that is a container itself may lack;
 *   /proc/PID/limits says the same to everybody.
 * fcntl64: the pipe through which pages are served to a lazy restore is to hold more than fs.pipe-max-size allows without
 *   CAP_SYS_RESOURCE; CRIU ignores the refusal, and then finds the pipe too small. What may be is enough. It alone is no power
 *   of two; of a dump's other pipes CRIU has to know what they really hold.
 * sendmsg: a walk of the whole conntrack table becomes one of the list of dying entries, which is empty or short. The network
 *   namespace is external, so what CRIU reads there is not what the connections live on: the agent moves their entries.
 * execvp of tar: CRIU packs each tmpfs by tar and gzip. An empty one is an empty archive without starting tar; others go
 *   uncompressed. Both ends of a relocation have this library.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define EMPTY_ARCHIVE 1024 /* two blocks of zeros end a tar archive */
#define MAX_ARGUMENTS 64
#define PIPE_FOR_ALL (1 << 20) /* pipe(7): fs.pipe-max-size as it comes */

static rlim_t limit_of(const char *word)
{
	return strcmp(word, "unlimited") ? strtoull(word, NULL, 10) : RLIM_INFINITY;
}

/* proc(5): a head line, then one for each resource in the order of their numbers; names fill 26 columns */
static int read_limit(pid_t pid, int resource, struct rlimit64 *limit)
{
	char path[32], line[128], soft[24], hard[24];
	FILE *limits;

	snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	limits = fopen(path, "re");
	if (!limits)
		return -1;
	for (int number = -1; number <= resource; number++)
		if (!fgets(line, sizeof(line), limits))
			line[0] = 0;
	fclose(limits);
	if (strlen(line) <= 26 || sscanf(line + 26, "%23s %23s", soft, hard) != 2)
		return -1;
	limit->rlim_cur = limit_of(soft);
	limit->rlim_max = limit_of(hard);
	return 0;
}

long syscall(long number, ...)
{
	long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	const char *wanted = getenv("RELOCATE_PID");
	pid_t tids[2];
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_clone3 && wanted) {
		struct clone_args *request = (struct clone_args *)a[0];

		if ((request->flags & CLONE_NEWPID) && request->set_tid_size == 1) {
			tids[0] = *(pid_t *)(uintptr_t)request->set_tid;
			tids[1] = (pid_t)atoi(wanted);
			request->set_tid = (uint64_t)(uintptr_t)tids;
			request->set_tid_size = 2;
			/* the holder is reaped, but the kernel may not have freed its number yet */
			for (int tries = 0; tries < 500; tries++) {
				long pid = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);

				if (pid >= 0 || errno != EEXIST)
					return pid;
				usleep(200);
			}
		}
	}
	long result = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);

	if (number == SYS_prlimit64 && result < 0 && errno == EPERM && !a[2] && a[3])
		return read_limit((pid_t)a[0], (int)a[1], (struct rlimit64 *)(uintptr_t)a[3]);
	return result;
}

int fcntl64(int fd, int command, ...)
{
	int (*next)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
	va_list args;
	long value;

	va_start(args, command);
	value = va_arg(args, long);
	va_end(args);
	int result = next(fd, command, value);

	if (command == F_SETPIPE_SZ && result < 0 && errno == EPERM && value & (value - 1))
		return next(fd, command, (long)PIPE_FOR_ALL);
	return result;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t (*next)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
	struct nlmsghdr *header = message->msg_iovlen ? message->msg_iov[0].iov_base : NULL;
	const struct sockaddr *peer = message->msg_name;

	if (header && peer && peer->sa_family == AF_NETLINK && message->msg_iov[0].iov_len >= sizeof(*header) &&
	    (header->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP &&
	    header->nlmsg_type == ((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET))
		header->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET_DYING;
	return next(fd, message, flags);
}

static int is_empty(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	int others = 0;

	if (!directory)
		return 0;
	while ((entry = readdir(directory)) != NULL)
		others += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
	closedir(directory);
	return !others;
}

int execvp(const char *file, char *const argv[])
{
	int (*next)(const char *, char *const[]) = dlsym(RTLD_NEXT, "execvp");
	static const char zeros[EMPTY_ARCHIVE];
	char block[EMPTY_ARCHIVE] = "";
	char *plain[MAX_ARGUMENTS + 1];
	const char *directory = NULL;
	int create = 0, count = 0;

	if (strcmp(file, "tar"))
		return next(file, argv);
	for (int i = 0; argv[i] && count < MAX_ARGUMENTS; i++) {
		create |= !strcmp(argv[i], "--create");
		if (!strcmp(argv[i], "--directory") && argv[i + 1])
			directory = argv[i + 1];
		if (strcmp(argv[i], "--gzip"))
			plain[count++] = argv[i];
	}
	plain[count] = NULL;
	if (create && directory && is_empty(directory))
		_exit(write(STDOUT_FILENO, zeros, sizeof(zeros)) != sizeof(zeros));
	if (!create && pread(STDIN_FILENO, block, sizeof(block), lseek(STDIN_FILENO, 0, SEEK_CUR)) == sizeof(block) &&
	    !memcmp(block, zeros, sizeof(block)))
		_exit(0);
	return next(file, plain);
}
