package network

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// onAlibaba reports whether the host is an Alibaba Cloud ECS instance: its firmware says so, or cloud-init found that cloud's
// datasource. (cloud-init itself recognises it by the same product name: DataSourceAliYun.py.)
func onAlibaba(h host.Files) (bool, error) {
	for _, mark := range []struct{ file, text string }{
		{"/sys/class/dmi/id/product_name", "Alibaba Cloud ECS"},
		{"/run/cloud-init/cloud-id", "aliyun"},
	} {
		b, err := h.ReadFile(mark.file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if strings.TrimSpace(string(b)) == mark.text {
			return true, nil
		}
	}
	return false, nil
}

// What a VPC offers at fixed addresses: https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata and
// https://www.alibabacloud.com/help/en/ecs/user-guide/alibaba-cloud-ntp-server.
const (
	metadataAddress = "100.100.100.200"
	alibabaNTP      = "ntp.cloud.aliyuncs.com"
)
