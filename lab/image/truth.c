/*
 * Guest side of the truth page: truth FILE SECONDS
 *
 * Writes the guest's CLOCK_REALTIME into its word of a page that the host shares (ivshmem BAR 2, for example
 * /sys/bus/pci/devices/0000:00:05.0/resource2), looks at the host's word, and leaves the least (guest minus host) of each
 * second in the page for the host to report. The other side, and the layout: lab/ena_device/truth.py.
 *
 * Build: cc -O2 -Wall -Wextra -o truth truth.c
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL
#define PAGE_BYTES 4096

/* Words of the page, each in a cache line of its own. */
enum { GUEST_TIME = 0, HOST_TIME = 8, GUEST_LEAST = 16, GUEST_SEEN = 24, GUEST_SECONDS = 32 };

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * SECOND_NS + t.tv_nsec;
}

/* Exchange times until end_ns of CLOCK_MONOTONIC; tell the least difference and how many times of the host were seen. */
static void exchange(volatile int64_t *page, int64_t end_ns)
{
	int64_t least_ns = INT64_MAX, last = page[HOST_TIME], seen = 0;

	while (now_ns(CLOCK_MONOTONIC) < end_ns) {
		int64_t theirs, mine;

		page[GUEST_TIME] = now_ns(CLOCK_REALTIME);
		theirs = page[HOST_TIME];
		mine = now_ns(CLOCK_REALTIME);
		if (theirs == 0 || theirs == last)
			continue;
		last = theirs;
		seen++;
		if (mine - theirs < least_ns)
			least_ns = mine - theirs;
	}
	page[GUEST_LEAST] = least_ns;
	page[GUEST_SEEN] = seen;
	page[GUEST_SECONDS]++; /* last: tells the host that the two are new */
}

int main(int argc, char **argv)
{
	volatile int64_t *page;
	int64_t end_ns;
	int fd, seconds;

	if (argc != 3 || (seconds = atoi(argv[2])) < 1) {
		fprintf(stderr, "usage: truth FILE SECONDS\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_SYNC);
	if (fd < 0) {
		perror(argv[1]);
		return 2;
	}
	page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	end_ns = now_ns(CLOCK_MONOTONIC);
	while (seconds-- > 0) {
		end_ns += SECOND_NS;
		exchange(page, end_ns);
	}
	return 0;
}
