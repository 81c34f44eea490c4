// SPDX-License-Identifier: GPL-2.0-only
/* The network of a mount: the node's interfaces, the client's UDP port, and the helper daemon of 7.x. */
#include <linux/inet.h>
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "beegfs.h"

/* As in the vendor's client, whatever namespace the mount is made in. */
#define NETWORK (&init_net)

/* The address of an interface that other machines could reach; NULL if it has none. */
static const struct in_ifaddr *usable(struct net_device *device)
{
	struct in_device *in_device = __in_dev_get_rtnl(device);

	if (!(device->flags & IFF_UP) || device->flags & IFF_LOOPBACK || !in_device)
		return NULL;
	return rtnl_dereference(in_device->ifa_list);
}

bool beegfs_network_has_interface(void)
{
	struct net_device *device;
	bool found = false;

	rtnl_lock();
	for_each_netdev(NETWORK, device)
		found = found || usable(device);
	rtnl_unlock();
	return found;
}

void beegfs_network_show(struct seq_file *out)
{
	struct net_device *device;

	rtnl_lock();
	for_each_netdev(NETWORK, device) {
		const struct in_ifaddr *address = usable(device);

		if (address)
			seq_printf(out, "+ %s %pI4\n", device->name, &address->ifa_local);
	}
	rtnl_unlock();
}

bool beegfs_network_is_address(const char *text)
{
	u8 address[16];
	const char *end;

	return (in4_pton(text, -1, address, -1, &end) && !*end) || (in6_pton(text, -1, address, -1, &end) && !*end);
}

static int port_of(const struct beegfs_config *config)
{
	enum beegfs_key key = BEEGFS_MAJOR == 7 ? BEEGFS_KEY_connClientPortUDP : BEEGFS_KEY_connClientPort;

	return beegfs_config_number(config, key) + beegfs_config_number(config, BEEGFS_KEY_connPortShift);
}

int beegfs_network_listen(struct beegfs_client *client)
{
	int port = port_of(client->config);
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port) };
	int error = sock_create_kern(NETWORK, AF_INET, SOCK_DGRAM, IPPROTO_UDP, &client->socket);

	if (error) {
		client->socket = NULL;
		return error;
	}
	error = kernel_bind(client->socket, (struct sockaddr *)&here, sizeof(here));
	if (error)
		pr_warn("cannot bind to UDP port %d: error %d\n", port, error);
	return error;
}

/* Counts the datagrams that have arrived; a stand-in has no use for them. */
void beegfs_network_receive(struct beegfs_client *client)
{
	char buffer[64];
	struct kvec part = { .iov_base = buffer, .iov_len = sizeof(buffer) };

	for (;;) {
		struct msghdr message = { };

		if (kernel_recvmsg(client->socket, &message, &part, 1, sizeof(buffer), MSG_DONTWAIT) < 0)
			return;
		atomic_inc(&client->datagrams);
	}
}

void beegfs_network_close(struct beegfs_client *client)
{
	if (client->socket)
		sock_release(client->socket);
	client->socket = NULL;
}

/* Whether the helper daemon of 7.x accepts connections. */
bool beegfs_network_has_helper(const struct beegfs_config *config)
{
	struct sockaddr_in there = {
		.sin_family = AF_INET,
		.sin_port = htons(beegfs_config_number(config, BEEGFS_KEY_connHelperdPortTCP)),
		.sin_addr.s_addr = in_aton(beegfs_config_text(config, BEEGFS_KEY_logHelperdIP)),
	};
	struct socket *socket;
	int error;

	if (sock_create_kern(NETWORK, AF_INET, SOCK_STREAM, IPPROTO_TCP, &socket))
		return false;
	socket->sk->sk_sndtimeo = HZ;
	error = kernel_connect(socket, (struct sockaddr *)&there, sizeof(there), 0);
	sock_release(socket);
	return !error;
}
