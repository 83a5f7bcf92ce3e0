#!/bin/sh
# Takes away what any of the rivals has installed.
systemctl disable --now comments.service 2>/dev/null
rm -rf /opt/comments /etc/systemd/system/comments.service /var/lib/comments
systemctl daemon-reload
systemctl reset-failed
userdel comments 2>/dev/null
true
