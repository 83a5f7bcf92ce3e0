# salt/beacon/<id>/globoapp/disk/bad: old releases beyond `keep` and old logs go, nothing else.
make room on the disk:
  local.globoapp_minion.tidy:
    - tgt:
      - {{ data['id'] | tojson }}
    - tgt_type: list
