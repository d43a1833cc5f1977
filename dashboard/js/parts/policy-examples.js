// Policies to begin with: each is right as it stands, and says what tenants ask for most.

/** @type {{ name: string, key: import('../i18n.js').Key, source: string }[]} */
export const EXAMPLES = [
  {
    name: 'operators-one-command',
    key: 'policies.example.command',
    source: `forbid (
  principal in Role::"operator",
  action == Action::"commands.write",
  resource is Device
) unless {
  context has cmd && context.cmd == "set_interval"
};`,
  },
  {
    name: 'viewers-one-site',
    key: 'policies.example.site',
    source: `forbid (
  principal in Role::"viewer",
  action,
  resource is Device
) unless {
  resource.hasTag("site") && resource.getTag("site") == "hanoi"
};`,
  },
  {
    name: 'viewers-acknowledge',
    key: 'policies.example.alarms',
    source: `permit (
  principal in Role::"viewer",
  action == Action::"alarms.acknowledge",
  resource
);`,
  },
  {
    name: 'one-device-alone',
    key: 'policies.example.device',
    source: `forbid (
  principal,
  action == Action::"commands.write",
  resource is Device
) when {
  resource.uid == "dev-01"
} unless {
  principal in Role::"admin"
};`,
  },
];
