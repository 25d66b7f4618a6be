/* proxy_protocol.h - the PROXY protocol, versions 1 and 2: what a proxy says about its client before anything else on a
 * connection. The specification is HAProxy's doc/proxy-protocol.txt of 2020-03-05; numbers in brackets are its
 * sections.
 *
 * A server that wants such headers says so with `proxy_from` of its listener (net/server.h), and its handlers see the
 * client as the peer. This is for whoever takes them apart himself, and for the proxy:
 *
 *     struct rill_proxy_header header = {
 *         .version = 2, .has_addresses = true, .source = client, .destination = where_the_client_connected_to};
 *     char bytes[RILL_PROXY_WRITE_BYTES];
 *     int length = rill_proxy_write(&header, bytes, sizeof bytes);
 *     rill_conn_send(conn, bytes, (size_t)length);
 *
 * Never guess whether there is a header: whoever may or may not send one can pretend to be anybody [2].
 *
 * Pure: no socket, no allocation, no state. Thread: any, throughout. */
#ifndef RILL_NET_PROXY_PROTOCOL_H
#define RILL_NET_PROXY_PROTOCOL_H

#include "rill/core/base.h"
#include "rill/net/addr.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RILL_PROXY_MAX_BYTES (16 + 65535) /* of any header */
#define RILL_PROXY_V1_MAX_BYTES 107       /* of one of version 1, its CRLF included */
#define RILL_PROXY_WRITE_BYTES 239        /* of one without `tlvs` */

/* What a header says. */
struct rill_proxy_header {
    uint8_t version;              /* 1 or 2 */
    bool is_local;                /* the proxy speaks for itself, to see whether we live for instance (LOCAL) */
    bool has_addresses;           /* false: what the connection's own ends are is true (LOCAL, UNKNOWN, unspecified) */
    bool is_datagram;             /* what was proxied is UDP, or a Unix datagram socket */
    bool has_checksum;            /* there is a CRC32c, and it is right; when writing: add one. Version 2 only */
    struct rill_addr source;      /* the client */
    struct rill_addr destination; /* what the client had connected to */
    struct rill_slice tlvs;       /* further fields, see rill_proxy_next_tlv(); they lie in the bytes parsed. Only with
                                     addresses: what is in a header without is not for us to understand */
};

/* Reads the header that LENGTH BYTES begin with. Returns its length: *HEADER is filled in, and what follows is the
 * client's. 0: it has not come whole. -EPROTO: these are not the first bytes of a valid header, and never will be: drop
 * the connection. Only what the specification says exactly is accepted; TLVs are well-formed, and a checksum is right.
 * *HEADER means nothing unless the result is above 0. */
RILL_WARN_UNUSED int rill_proxy_parse(const char *bytes, size_t length, struct rill_proxy_header *header);

/* Types of further fields [2.2.1 to 2.2.8]. */
enum rill_proxy_tlv_type {
    RILL_PROXY_TLV_ALPN = 0x01,
    RILL_PROXY_TLV_AUTHORITY = 0x02, /* the host name that the client asked for (SNI) */
    RILL_PROXY_TLV_CRC32C = 0x03,
    RILL_PROXY_TLV_NOOP = 0x04,
    RILL_PROXY_TLV_UNIQUE_ID = 0x05,
    RILL_PROXY_TLV_SSL = 0x20,
    RILL_PROXY_TLV_NETNS = 0x30,
    RILL_PROXY_TLV_CUSTOM_MIN = 0xe0, /* for applications of one's own */
    RILL_PROXY_TLV_CUSTOM_MAX = 0xef,
};

/* One further field. */
struct rill_proxy_tlv {
    uint8_t type;
    struct rill_slice value;
};

/* Takes the first field off TLVS; false: none is left. (In bytes from elsewhere: or what is left is no whole field.) */
bool rill_proxy_next_tlv(struct rill_slice *tlvs, struct rill_proxy_tlv *tlv);

/* Writes HEADER to OUT, which has room for SIZE bytes. An IPv4 address beside an IPv6 one is written as IPv6; ends that
 * cannot be told together, or in this version at all, are not told: UNKNOWN in version 1, and in version 2 LOCAL, which
 * has to be accepted, where an unspecified family may be refused, and is by HAProxy.
 * `tlvs` are written with the addresses of version 2 only, and without the checksum in them, which would not be right
 * any more. Returns the length; -ENOBUFS: SIZE is too small; -EMSGSIZE: `tlvs` are more than a header can hold;
 * -EINVAL: there is no such version, or `tlvs` are malformed. */
RILL_WARN_UNUSED int rill_proxy_write(const struct rill_proxy_header *header, char *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
