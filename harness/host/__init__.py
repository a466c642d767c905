"""Work with one host by SSH: login, host key, file copy, playbooks, sampling, reboot."""
