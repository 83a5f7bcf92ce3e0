# salt/beacon/<id>/globoapp/<probe>/<state>: record, dedup, notify.
record what the beacon says:
  runner.globoapp.alert:
    - args:
        minion: {{ data['id'] | tojson }}
        data: {{ data | tojson | base64_encode }}
