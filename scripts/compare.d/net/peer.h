/* peer.h - what the servers that Rill is compared with share.
 *
 * Connections are accepted by one thread and handed in turn to the loops, whichever library runs them, so that all
 * servers spread their connections alike. Nothing here is on the path of a message. */
#ifndef PEER_H
#define PEER_H

/* Listens on 127.0.0.1:PORT and starts LOOPS threads (the command line's two operands), each in RUN(INBOX). Ends the
 * process with a usage line when the operands are wrong. Does not return. */
void peer_serve(int argc, char **argv, void (*run)(int inbox));

/* The next connection that was handed to the loop of INBOX: non-blocking, with TCP_NODELAY. -1: none for now. INBOX is
 * a non-blocking descriptor, readable when there is one. */
int peer_take(int inbox);

/* Stops the process with "NAME: WHAT: why", why by errno. */
void peer_die(const char *what) __attribute__((noreturn));

#endif
