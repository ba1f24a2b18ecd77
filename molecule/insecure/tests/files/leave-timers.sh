# Leaves what starts the server's programs in other settings: a timer that renews the certificate, and cron's table for
# the garbage.
unit=/etc/systemd/system/wharf-renew-certificate
printf '[Service]\nExecStart=/bin/true\n' >$unit.service
printf '[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n' >$unit.timer
systemctl enable --now wharf-renew-certificate.timer
mkdir -p /etc/cron.d
touch /etc/cron.d/wharf-collect-garbage
