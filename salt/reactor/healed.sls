# globoapp/heal/<id>: what came of an attempt to heal.
note what came of healing:
  runner.globoapp_watch.healed:
    - args:
        minion: {{ data['id'] | tojson }}
        data: {{ data['data'] | tojson | base64_encode }}
