package report

import "testing"

func TestReasons(t *testing.T) {
	for en, zh := range map[string]string{
		"needs root": "需要 root 权限",
		"sshd.host_keys could not be read: open /etc/ssh: permission denied": "无法读取 sshd.host_keys: open /etc/ssh: 权限不足",
		"gateway.reachable could not be read: skipped: needs network":        "无法读取 gateway.reachable: 已跳过：需要网络",
		"3 packages": "3 个软件包",
		"units.list could not be read: did not come back within 5s":            "无法读取 units.list: 5s 内没有返回",
		"site.shop.status could not be read: no answer within 3s":              "无法读取 site.shop.status: 3s 内没有响应",
		"there is no swap.total here: there is no swap":                        "本机没有 swap.total: there is no swap",
		"the ruleset of nft has a verdict that this version does not know yet": "the ruleset of nft has a verdict that this version does not know yet",
	} {
		if got := chinese.reason(en); got != zh {
			t.Errorf("%q is %q in Chinese, want %q", en, got, zh)
		}
		if got := english.reason(en); got != en {
			t.Errorf("%q is %q in English", en, got)
		}
	}
}
