package report

import (
	"regexp"
	"sync"
)

// phrase is a reason, or a part of one, that is the same whatever it is about, and its Chinese. Reasons come from the kernel, from
// programs and from probes; those that administrators meet every day are here, and all others stay as they are.
type phrase struct {
	en *regexp.Regexp
	zh string
}

func phrases(pairs ...string) []phrase {
	list := make([]phrase, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, phrase{regexp.MustCompile(pairs[i]), pairs[i+1]})
	}
	return list
}

// chineseReasons is made when it is needed: most readers do without.
var chineseReasons = sync.OnceValue(func() []phrase {
	return phrases(
		`^(\S+) could not be read\b`, `无法读取 $1`,
		`^there is no (\S+) here\b`, `本机没有 $1`,
		`\bit could not be decided\b`, `无法判定`,
		`\bskipped: `, `已跳过：`,
		`\bneeds root and network\b`, `需要 root 权限和网络`,
		`\bneeds root\b`, `需要 root 权限`,
		`\bneeds network\b`, `需要网络`,
		`\bpermission denied\b`, `权限不足`,
		`\boperation not permitted\b`, `操作不被允许`,
		`\bno such file or directory\b|\bfile does not exist\b`, `文件或目录不存在`,
		`\bno answer within (\S+)`, `$1 内没有响应`,
		`\bdid not come back within (\S+)`, `$1 内没有返回`,
		`\bno answer$`, `没有响应`,
		`\bcontext deadline exceeded\b`, `超时`,
		`\bconnection refused\b`, `连接被拒绝`,
		`\bno such host\b`, `域名不存在`,
		`\bnetwork is unreachable\b`, `网络不可达`,
		`\bno route to host\b`, `没有到该主机的路由`,
		`\bnot in the capture\b`, `采集文件中没有`,
		`\bsending packets is switched off\b`, `已禁止发送报文`,
		`\bthe list was cut short\b`, `列表不完整`,
		`\bsystemd is not the service manager\b`, `服务管理器不是 systemd`,
		`^units were enabled or disabled$`, `有单元被启用或禁用`,
		`^(\d+) packages$`, `$1 个软件包`,
	)
})

// reason is why something is not known, in the reader's language as far as it has words for it.
func (v *vocabulary) reason(text string) string {
	if v.reasons == nil {
		return text
	}
	for _, p := range v.reasons() {
		text = p.en.ReplaceAllString(text, p.zh)
	}
	return text
}
