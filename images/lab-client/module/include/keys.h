/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The keys of the configuration file, with the vendor's names and defaults (its client_module/source/app/config/Config.c).
 * A key of the majors 7 or 8 exists in that major alone. Every key but cfgFile stands in that major's template.
 */
#ifndef BEEGFS_KEYS_H
#define BEEGFS_KEYS_H

/* KEY(name, kind of value, majors, default) */
#define BEEGFS_KEYS(KEY) \
	KEY(cfgFile, TEXT, ALL, "") \
	KEY(sysMgmtdHost, TEXT, ALL, "") \
	KEY(connAuthFile, TEXT, ALL, "") \
	KEY(connDisableAuthentication, FLAG, ALL, "false") \
	KEY(connClientPortUDP, PORT, 7, "8004") \
	KEY(connHelperdPortTCP, PORT, 7, "8006") \
	KEY(connMgmtdPortTCP, PORT, 7, "8008") \
	KEY(connMgmtdPortUDP, PORT, 7, "8008") \
	KEY(connClientPort, PORT, 8, "8004") \
	KEY(connMgmtdPort, PORT, 8, "8008") \
	KEY(connPortShift, NUMBER, ALL, "0") \
	KEY(connCommRetrySecs, NUMBER, ALL, "600") \
	KEY(connFallbackExpirationSecs, NUMBER, ALL, "900") \
	KEY(connInterfacesFile, TEXT, ALL, "") \
	KEY(connInterfacesList, TEXT, ALL, "") \
	KEY(connMaxInternodeNum, NUMBER, ALL, "8") \
	KEY(connNetFilterFile, TEXT, ALL, "") \
	KEY(connRDMABufNum, NUMBER, ALL, "70") \
	KEY(connRDMABufSize, NUMBER, ALL, "8192") \
	KEY(connRDMAInterfacesFile, TEXT, 8, "") \
	KEY(connTcpOnlyFilterFile, TEXT, ALL, "") \
	KEY(connUnmountRetries, FLAG, ALL, "true") \
	KEY(connUseRDMA, FLAG, ALL, "true") \
	KEY(logClientID, FLAG, ALL, "false") \
	KEY(logHelperdIP, TEXT, 7, "127.0.0.1") \
	KEY(logLevel, NUMBER, ALL, "3") \
	KEY(logType, TEXT, 7, "helperd") \
	KEY(quotaEnabled, FLAG, ALL, "false") \
	KEY(sysACLsEnabled, FLAG, ALL, "false") \
	KEY(sysCreateHardlinksAsSymlinks, FLAG, ALL, "false") \
	KEY(sysMountSanityCheckMS, NUMBER, ALL, "11000") \
	KEY(sysSessionCheckOnClose, FLAG, ALL, "false") \
	KEY(sysSyncOnClose, FLAG, ALL, "false") \
	KEY(sysTargetOfflineTimeoutSecs, NUMBER, ALL, "900") \
	KEY(sysUpdateTargetStatesSecs, NUMBER, ALL, "30") \
	KEY(sysXAttrsEnabled, FLAG, ALL, "false") \
	KEY(tuneFileCacheBufSize, NUMBER, ALL, "524288") \
	KEY(tuneFileCacheType, TEXT, ALL, "buffered") \
	KEY(tunePreferredMetaFile, TEXT, ALL, "") \
	KEY(tunePreferredStorageFile, TEXT, ALL, "") \
	KEY(tuneRemoteFSync, FLAG, ALL, "true") \
	KEY(tuneUseGlobalAppendLocks, FLAG, ALL, "false") \
	KEY(tuneUseGlobalFileLocks, FLAG, ALL, "false")

#define BEEGFS_KEY_ENTRY(name, kind, majors, fallback) BEEGFS_KEY_##name,
enum beegfs_key {
	BEEGFS_KEYS(BEEGFS_KEY_ENTRY)
	BEEGFS_KEY_COUNT
};
#undef BEEGFS_KEY_ENTRY

#endif
