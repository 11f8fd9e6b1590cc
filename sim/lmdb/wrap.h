/* wrap.h - baton-sim-lmdb: the simulator with the product's real store, raft/store*.c and LMDB as they are, in place of sim/store.c.
 *
 *    sim/node.c --> sim/lmdb/store.c   one store's two sides: the real one, and sim/store.c's as its shadow, which the oracles ask
 *                   pilot.c            its writer: a stack of its own, that runs when the simulator says so
 *                   calls.c            its system calls, and LMDB's: on to a folder in memory, and to sim/media.c, which fails them,
 *                                      and knows what is left after a loss of power
 *
 * The linker (--wrap) sends each call of a wrapped name here; SConscript has their list. */
#ifndef SIM_LMDB_WRAP_H
#define SIM_LMDB_WRAP_H

/* What stands for `name` in all of the program, and what `name` is by itself. Names of our own, since __x is the compiler's. */
#define WRAP_OF(name) __asm__("__wrap_" #name)
#define REAL_OF(name) __asm__("__real_" #name)

#endif
