/*
 * floor: the least a supervisor can do, as the yardstick of every other one.
 *
 *   floor run N PROGRAM                    start N, start again whatever ends
 *   floor log rw|paced|splice N PROGRAM DIR  the same, and capture the output
 *       in DIR/<slot>.log with rotation (10 MB, 5 old files)
 *
 * rw reads as soon as there is something; paced sleeps 0.5 ms whenever it found
 * little, so that a writer's next line wakes nobody; splice moves pages without
 * looking at them. On TERM: TERM to all, wait for all, exit 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIPE_SIZE = 1 << 20, CHUNK = 64 << 10, ROTATE_AT = 10 << 20, KEEP = 5, PACE_US = 500 };

struct slot {
	volatile pid_t pid;
	int write_end; /* -1: output is not captured */
	int read_end;
	int file;
	long size;
};

static struct slot *slots;
static int count;
static char *program;
static const char *dir;
static volatile sig_atomic_t stopping;
static char chunk[CHUNK];

static void die(const char *what)
{
	perror(what);
	exit(111);
}

static void on_term(int sig)
{
	(void)sig;
	stopping = 1;
	for (int i = 0; i < count; i++)
		if (slots[i].pid > 0)
			kill(slots[i].pid, SIGTERM);
}

static void spawn(struct slot *s)
{
	char *argv[] = {program, NULL};
	pid_t pid = vfork();
	if (pid == 0) {
		if (s->write_end >= 0)
			dup2(s->write_end, 1);
		execve(program, argv, environ);
		_exit(111);
	}
	if (pid < 0)
		die("vfork");
	s->pid = pid;
	if (stopping) /* the signal may have come before the pid was known */
		kill(pid, SIGTERM);
}

/* Waits for one child; returns whether any is left. */
static int reap(int flags)
{
	pid_t pid = waitpid(-1, NULL, flags);
	if (pid < 0)
		return errno != ECHILD;
	for (int i = 0; pid > 0 && i < count; i++)
		if (slots[i].pid == pid) {
			slots[i].pid = 0;
			if (!stopping)
				spawn(&slots[i]);
			break;
		}
	return 1;
}

static void path(char *out, size_t size, int i, int old)
{
	if (old)
		snprintf(out, size, "%s/%d.log.%d", dir, i, old);
	else
		snprintf(out, size, "%s/%d.log", dir, i);
}

static void rotate(int i)
{
	char from[4096], to[4096];
	struct slot *s = &slots[i];

	if (s->file >= 0)
		close(s->file);
	for (int old = KEEP - 1; old >= 0; old--) {
		path(from, sizeof from, i, old);
		path(to, sizeof to, i, old + 1);
		rename(from, to); /* fails as long as there are fewer files */
	}
	path(from, sizeof from, i, 0);
	s->file = open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (s->file < 0)
		die(from);
	s->size = 0;
}

static long take(int i, int use_splice)
{
	struct slot *s = &slots[i];
	long n;

	if (use_splice) {
		n = splice(s->read_end, NULL, s->file, NULL, PIPE_SIZE, SPLICE_F_NONBLOCK);
	} else {
		n = read(s->read_end, chunk, CHUNK);
		if (n > 0 && write(s->file, chunk, n) != n)
			die("write");
	}
	if (n > 0 && (s->size += n) >= ROTATE_AT)
		rotate(i);
	return n;
}

static void capture(const char *mode)
{
	int use_splice = !strcmp(mode, "splice"), paced = !strcmp(mode, "paced");
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[64];

	for (int i = 0; i < count; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
		epoll_ctl(ep, EPOLL_CTL_ADD, slots[i].read_end, &e);
	}
	for (;;) {
		long got = 0;
		int n = epoll_wait(ep, events, 64, 100);
		for (int k = 0; k < n; k++) {
			long r = take(events[k].data.u32, use_splice);
			got += r > 0 ? r : 0;
		}
		if (paced && n > 0 && got < (long)n * CHUNK)
			usleep(PACE_US);
		if (n <= 0 && stopping)
			return;
		if (n <= 0)
			reap(WNOHANG);
	}
}

static void open_pipe(int i)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) != 0 || fcntl(fd[0], F_SETPIPE_SZ, PIPE_SIZE) < 0)
		die("pipe of 1 MiB");
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	slots[i].read_end = fd[0];
	slots[i].write_end = fd[1];
	slots[i].file = -1;
	rotate(i);
}

int main(int argc, char **argv)
{
	struct sigaction on = {.sa_handler = on_term};
	int log = argc == 6 && !strcmp(argv[1], "log");

	if (!log && (argc != 4 || strcmp(argv[1], "run"))) {
		fprintf(stderr, "usage: floor run N PROGRAM | floor log rw|paced|splice N PROGRAM DIR\n");
		return 2;
	}
	count = atoi(argv[log ? 3 : 2]);
	program = argv[log ? 4 : 3];
	dir = log ? argv[5] : NULL;
	slots = calloc(count, sizeof *slots);
	if (!slots)
		die("calloc");
	sigaction(SIGTERM, &on, NULL);
	for (int i = 0; i < count; i++) {
		slots[i].write_end = -1;
		if (log)
			open_pipe(i);
		spawn(&slots[i]);
	}
	if (log)
		capture(argv[2]);
	while (reap(0))
		;
	return 0;
}
